"""What a model server tells about its initialization: each thing once."""

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.report_pipe import REPORT_FD_VARIABLE, InitFailed, Message, Ready, Stage
from drum_supervisor.servers.init_report import InitReport


def test_stages_and_readiness_are_sent():
    sent: list[Message] = []
    progress = InitReport(sent.append)
    progress.begin_stage("init")
    progress.begin_stage("load_model")
    assert (progress.stage, progress.is_ready) == ("load_model", False)
    progress.report_ready()
    progress.report_ready()
    assert progress.is_ready
    assert sent == [Stage("init"), Stage("load_model"), Ready()]


def test_failure_is_sent_once_and_told_to_the_log_by_whoever_keeps_it_to_himself(capsys):
    sent: list[Message] = []
    progress = InitReport(sent.append)
    progress.report_failure(ValueError("first"))
    assert capsys.readouterr().err == ""
    progress.fail(ValueError("second"))
    progress.fail(ValueError("third"))
    assert capsys.readouterr().err == "ValueError: second\n"
    (failure,) = sent
    assert isinstance(failure, InitFailed)
    assert failure.message == "first"


def test_mistake_of_the_user_is_a_sentence(capsys):
    InitReport(lambda _: None).fail(UsageError("no custom.py"))
    assert capsys.readouterr().err == "no custom.py\n"


def test_without_a_report_pipe_nobody_supervises():
    assert not InitReport.from_environment({}).is_supervised
    assert not InitReport.from_environment({REPORT_FD_VARIABLE: "nonsense"}).is_supervised
