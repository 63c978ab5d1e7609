"""What a model server tells about its initialization: each thing once."""

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.report_pipe import REPORT_FD_VARIABLE, InitFailed, Message, Ready, Stage
from drum_supervisor.servers.init_report import Progress


def test_stages_and_readiness_are_sent():
    sent: list[Message] = []
    progress = Progress(sent.append)
    progress.reach("init")
    progress.reach("load_model")
    assert (progress.stage, progress.is_ready) == ("load_model", False)
    progress.become_ready()
    progress.become_ready()
    assert progress.is_ready
    assert sent == [Stage("init"), Stage("load_model"), Ready()]


def test_failure_is_sent_once_and_told_to_the_log_by_whoever_keeps_it_to_himself(capsys):
    sent: list[Message] = []
    progress = Progress(sent.append)
    progress.report(ValueError("first"))
    assert capsys.readouterr().err == ""
    progress.fail(ValueError("second"))
    progress.fail(ValueError("third"))
    assert capsys.readouterr().err == "ValueError: second\n"
    (failure,) = sent
    assert isinstance(failure, InitFailed)
    assert failure.message == "first"


def test_mistake_of_the_user_is_a_sentence(capsys):
    Progress(lambda _: None).fail(UsageError("no custom.py"))
    assert capsys.readouterr().err == "no custom.py\n"


def test_without_a_report_pipe_nobody_supervises():
    assert not Progress.from_environment({}).supervised
    assert not Progress.from_environment({REPORT_FD_VARIABLE: "nonsense"}).supervised
