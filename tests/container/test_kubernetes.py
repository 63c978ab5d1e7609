"""A pod whose model fails: it stays alive without traffic and shows the reason, also in its termination message."""

import pytest

from tests.container.conftest import ECHO, mounted
from tests.container.containers import RESTRICTED

pytestmark = pytest.mark.container

FAILS = """
def load_model(code_dir):
    raise OSError("no weights " + "ä" * 5000)
def score_unstructured(model, data, **kwargs):
    return data
"""
REASON = "OSError: no weights ä"


@pytest.fixture
def termination_log(tmp_path):
    path = tmp_path / "termination-log"
    path.write_text("of the container before")
    path.chmod(0o666)
    return path


def as_pod(run, folder, termination_log, **environ):
    flags = (*RESTRICTED, *mounted(folder), f"--volume={termination_log}:/dev/termination-log")
    given = {"DRUM_SUPERVISOR_PROFILE": "kubernetes", "DRUM_SUPERVISOR_CODE_DIR": "/opt/ml/model", **environ}
    return run("start", flags=flags, **given)


def test_failed_model_keeps_its_pod_alive_and_shows_the_reason(run, model, termination_log):
    pod = as_pod(run, model(FAILS), termination_log)
    pod.until_phase("failed")
    assert [pod.get(path).status for path in ("/startupz", "/livez", "/readyz", "/ping")] == [200, 200, 513, 503]
    assert pod.post("/invocations", b"x").json()["message"].startswith(f"ERROR: {REASON}")
    assert f"the model server failed in load_model: {REASON}" in pod.output()
    assert REASON in pod.execute("drum-supervise", "failure")[1]
    assert termination_log.read_text() == ""
    pod.signal("TERM")
    assert pod.wait() == 0


def test_termination_message_is_the_reason(run, model, termination_log):
    pod = as_pod(run, model(FAILS), termination_log, DRUM_SUPERVISOR_ERROR_SERVER_TTL="0.5")
    assert pod.wait() == 3
    said = termination_log.read_bytes()
    assert len(said) <= 4096
    assert said.decode("utf-8").startswith(f"initialization failed in load_model: {REASON}")


@pytest.mark.parametrize(("limit", "workers"), [("--cpus=1", 1), ("--memory=500m", 1)])
def test_auto_workers_fit_the_limits(run, model, limit, workers):
    pod = run(flags=(limit, *mounted(model(ECHO))), DRUM_SUPERVISOR_WORKERS="auto")
    assert pod.until_phase("serving")["workers"] == workers
    assert f"workers: {workers}, for " in pod.output()
