"""The real DRUM under drum-supervise: each of its ways to fail ends in our error server.

Needs an environment with `datarobot-drum`, and the path of its `bin/drum` in $DRUM_BIN. DRUM is a black box here: the
tests run it and send it requests, and open none of its files.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.support import Supervised
from tests.unit.control_groups import MIB, limited_group

DRUM = os.environ.get("DRUM_BIN", "")

pytestmark = [
    pytest.mark.compat,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.access(DRUM, os.X_OK), reason="no DRUM: set DRUM_BIN to the bin/drum of its environment"),
]

SERVER_TYPE = "MLOPS_RUNTIME_PARAM_DRUM_SERVER_TYPE"
WORKERS = "MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS"
SCORE = """
import pandas as pd
def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": [1.5] * len(data)})
"""
GOOD = "def load_model(code_dir):\n    return object()\n" + SCORE
MODELS = {
    "raises": "def load_model(code_dir):\n    raise ValueError('no weights')\n" + SCORE,
    "import error": "import no_such_module\n" + GOOD,
    "empty folder": None,
    "sys.exit": "import sys\ndef load_model(code_dir):\n    sys.exit(7)\n" + SCORE,
    "os._exit": "import os\ndef load_model(code_dir):\n    os._exit(9)\n" + SCORE,
    "segfault": "import os\ndef load_model(code_dir):\n    os.kill(os.getpid(), 11)\n" + SCORE,
    "out of memory": "import os\ndef load_model(code_dir):\n    os.kill(os.getpid(), 9)\n" + SCORE,
}
REASONS = {
    "raises": "no weights",
    "import error": "No module named 'no_such_module'",
    "empty folder": "Can not detect language by artifacts",
    "sys.exit": "SystemExit: 7",
    "os._exit": "exited with status 9 before it was ready",
    "segfault": "was killed by SIGSEGV before it was ready",
    "out of memory": "was killed by SIGKILL before it was ready",
}
HALF = """
import os, time
def load_model(code_dir):
    time.sleep(0.3)
    try:
        os.mkdir(os.environ["LOADED"])
    except FileExistsError:
        FAIL
    return object()
"""
MODES = {
    "gunicorn": {},  # the default of 1.17.19 and later
    "gunicorn, 2 workers": {WORKERS: json.dumps({"type": "numeric", "payload": 2})},
    "own server": {SERVER_TYPE: json.dumps({"type": "string", "payload": "werkzeug"})},
}


@pytest.fixture
def drum(start: Start, tmp_path: Path, reserved_port: int) -> Callable[..., Supervised]:
    """Prefix a DRUM command line with ours."""

    def begin(
        custom: "str | None", *options: str, ours: tuple[str, ...] = (), before=None, **environ: str
    ) -> Supervised:
        folder = tmp_path / "model"
        folder.mkdir()
        if custom is not None:
            (folder / "custom.py").write_text(custom)
        line = [DRUM, "server", "--code-dir", str(folder), "--target-type", "regression"]
        address = ("--address", f"127.0.0.1:{reserved_port}")
        environ = {"PYTHONNODEBUGRANGES": "1", "LOADED": str(tmp_path / "loaded"), **environ}
        return start(*address, *ours, "--", *line, *address, *options, before=before, **environ)

    return begin


@pytest.mark.parametrize("own_error_server", [(), ("--with-error-server",)], ids=["", "with-error-server"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", MODELS)
def test_failed_load_ends_in_our_error_server(
    drum: Callable[..., Supervised], how: str, mode: str, own_error_server: tuple[str, ...]
) -> None:
    supervised = drum(MODELS[how], *own_error_server, **MODES[mode])
    status = supervised.until_phase("failed", "serving")
    assert status["phase"] == "failed"
    assert REASONS[how] in status["failure"]["error"]
    assert status["restarts"]["crash"] == 0
    supervised.until_status(lambda status: any(has_error_server(entry) for entry in status["programs"]))
    probe, prediction = supervised.get("/ping"), supervised.post("/predict/", b"a\n1\n")
    assert (probe.status, prediction.status) == (200, 513)
    assert REASONS[how] in prediction.json()["message"]
    assert prediction.headers["x-drum-supervisor"] == "error-server"
    assert supervised.stop() == 0
    assert supervised.left() == []


LIMIT = 700
ALLOCATES = """
def allocate():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
"""
OOM_KILLED = f"out of memory: killed by the kernel at {LIMIT}.0 MiB of {LIMIT}.0 MiB, "


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    with limited_group(LIMIT) as join:
        yield join


@pytest.mark.parametrize("mode", MODES)
def test_model_too_large_for_memory_is_reported(limited, drum: Callable[..., Supervised], mode: str) -> None:
    supervised = drum(ALLOCATES + "def load_model(code_dir):\n    allocate()\n" + SCORE, before=limited, **MODES[mode])
    failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(OOM_KILLED)
    assert (failure["out_of_memory"], failure["memory_limit_bytes"]) == (True, LIMIT * MIB)
    assert supervised.post("/predict/", b"a,b\n1,2\n").json()["message"].startswith(f"ERROR: {OOM_KILLED}")
    assert supervised.stop() == 0


@pytest.mark.parametrize("mode", MODES)
def test_oom_kill_while_serving_is_reported(limited, drum: Callable[..., Supervised], mode: str) -> None:
    model = ALLOCATES + GOOD.replace("    return pd", "    if len(data) > 1:\n        allocate()\n    return pd")
    supervised = drum(model, before=limited, **MODES[mode])
    supervised.until_phase("serving")
    with pytest.raises(ConnectionResetError):
        supervised.post("/predict/", b"a,b\n1,2\n3,4\n")
    supervised.until(lambda: OOM_KILLED in supervised.err.read_text())
    memory = supervised.until_phase("serving")["out_of_memory"]
    assert (memory["kills"], memory["limit_bytes"], memory["peak_bytes"]) == (1, LIMIT * MIB, LIMIT * MIB)
    assert supervised.post("/predict/", b"a,b\n1,2\n").json() == {"predictions": [1.5]}
    assert supervised.stop() == 0


def has_error_server(entry: "dict[str, object]") -> bool:
    return (entry["name"], entry["state"]) == ("error-server", "ready")


@pytest.mark.parametrize("fail", ["raise ValueError('no weights')", "os._exit(9)"])
@pytest.mark.parametrize("own_error_server", [(), ("--with-error-server",)], ids=["", "with-error-server"])
def test_one_loaded_worker_does_not_hide_a_failed_one(
    drum: Callable[..., Supervised], fail: str, own_error_server: tuple[str, ...]
) -> None:
    model = HALF.replace("FAIL", fail) + SCORE
    supervised = drum(model, *own_error_server, **MODES["gunicorn, 2 workers"])
    status = supervised.until_phase("failed")
    assert ("no weights" if "raise" in fail else "exited with status 9") in status["failure"]["error"]
    assert status["restarts"]["crash"] == 0
    assert supervised.stop() == 0


def test_513_from_drum_behind_a_script_is_a_failure(
    start: Start, model: Callable[[str], Path], reserved_port: int
) -> None:
    folder = model(MODELS["raises"] or "")
    line = f"exec {DRUM} server --with-error-server --target-type regression --code-dir {folder} --address $0:$1"
    arguments = ("--address", f"127.0.0.1:{reserved_port}", "--listener", "inherit", "--")
    supervised = start(*arguments, "sh", "-c", line, "{host}", "{port}")
    status = supervised.until_phase("failed", "serving")
    assert (status["phase"], "no weights" in status["failure"]["error"]) == ("failed", True)


@pytest.mark.parametrize("mode", MODES)
def test_drum_serves_restarts_and_stops(drum: Callable[..., Supervised], mode: str) -> None:
    supervised = drum(GOOD, **MODES[mode])
    assert supervised.until_phase("serving")["server_type"] == "drum"
    assert supervised.get("/ping").json() == {"message": "OK"}
    assert supervised.post("/predict/", b"a,b\n1,2\n").json() == {"predictions": [1.5]}
    assert supervised.run("restart").returncode == 0
    assert supervised.post("/predict/", b"a,b\n1,2\n").json() == {"predictions": [1.5]}
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_server_type_drum_accepts_our_options(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--server-type", "drum", "--code-dir", model(GOOD), "--target-type", "regression", "--workers", 2)
    path = os.pathsep.join([str(Path(DRUM).parent), os.environ["PATH"]])
    supervised = start(*arguments, "--url-prefix", "v1", PATH=path)  # on port 0: the listener is ours
    supervised.until_phase("serving")
    assert supervised.post("/v1/predict/", b"a,b\n1,2\n").json() == {"predictions": [1.5]}
    assert len(psutil.Process(supervised.pid()).children()) == 2
    assert supervised.stop() == 0


def test_killed_master_leaves_no_worker_on_the_port(drum: Callable[..., Supervised]) -> None:
    supervised = drum(GOOD, **MODES["gunicorn, 2 workers"])
    supervised.until_phase("serving")
    master = psutil.Process(supervised.pid())
    orphans = master.children(recursive=True)
    os.kill(master.pid, signal.SIGKILL)
    supervised.until_status(lambda status: status["restarts"]["crash"] == 1 and status["phase"] == "serving")
    assert not any(orphan.is_running() for orphan in orphans)
    assert supervised.post("/predict/", b"a,b\n1,2\n").json() == {"predictions": [1.5]}


def test_no_connection_is_refused_while_retries_fail(drum: Callable[..., Supervised]) -> None:
    supervised = drum(MODELS["os._exit"], ours=("--max-retries", "1", "--retry-interval", "0.1"))
    while supervised.status()["attempt"] < 2 or supervised.status()["phase"] != "failed":
        supervised.connect().close()
    assert supervised.post("/predict/", b"a\n1\n").status == 513
