from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.report_pipe import (
    REPORT_FD_VARIABLE,
    InitFailedMessage,
    Message,
    ReadyMessage,
    StageMessage,
)
from drum_supervisor.servers.init_report import InitReport


def test_stages_and_readiness_are_reported():
    sent: list[Message] = []
    progress = InitReport(sent.append)
    progress.begin_stage("init")
    progress.begin_stage("load_model")
    assert (progress.stage, progress.is_ready) == ("load_model", False)
    progress.report_ready()
    progress.report_ready()
    assert progress.is_ready
    assert sent == [StageMessage("init"), StageMessage("load_model"), ReadyMessage()]


def test_failure_is_reported_once_and_logged_once(capsys):
    sent: list[Message] = []
    progress = InitReport(sent.append)
    progress.report_failure(ValueError("first"))
    assert capsys.readouterr().err == ""
    progress.fail(ValueError("second"))
    progress.fail(ValueError("third"))
    assert capsys.readouterr().err == "ValueError: second\n"
    (failure,) = sent
    assert isinstance(failure, InitFailedMessage)
    assert failure.message == "first"


def test_users_mistake_is_one_sentence(capsys):
    InitReport(lambda _: None).fail(UsageError("no custom.py"))
    assert capsys.readouterr().err == "no custom.py\n"


def test_unsupervised_without_a_report_pipe():
    assert not InitReport.from_environment({}).is_supervised
    assert not InitReport.from_environment({REPORT_FD_VARIABLE: "nonsense"}).is_supervised
