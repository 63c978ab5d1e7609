"""What `status --json` and `stats --json` print in each phase matches the published schemas."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.stories.conftest import Start
from tests.support import Supervised

DOCS = Path(__file__).parents[2] / "docs"
READY = """import os, signal
os.write(4, b'{"kind": "ready"}\\n')
signal.pause()"""
STARTING = """import os, signal
os.write(4, b'{"kind": "stage", "stage": "load"}\\n')
signal.pause()"""
FAILING = "raise ValueError('no weights')"


def closed(schema: Any) -> Any:
    """Return the schema without the permission of further fields."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(schema.get("required"), list) else inner


def validate(supervised: Supervised, command: str) -> Any:
    """Return what the command prints, if it has exactly the fields of the schema."""
    printed = json.loads(supervised.run(command, "--json").stdout)
    Draft202012Validator(closed(json.loads((DOCS / f"{command}.schema.json").read_text()))).validate(printed)
    return printed


@pytest.fixture
def started(start: Start) -> Callable[..., Supervised]:
    def begin(program: str, *options: object) -> Supervised:
        ready = ("--listener", "inherit", "--ready", "report")
        return start(*ready, *options, "--", sys.executable, "-c", program)

    return begin


@pytest.mark.parametrize(
    ("program", "options", "phase"),
    [
        (STARTING, (), "starting"),
        (READY, ("--workers", 2), "serving"),
        (FAILING, (), "failed"),
        (FAILING, ("--max-retries", 3, "--retry-interval", 300), "failed"),
    ],
    ids=["starting", "serving", "failed", "waiting"],
)
def test_each_phase_matches_the_schemas(started, program, options, phase):
    supervised = started(program, *options)
    supervised.until_phase(phase)
    assert validate(supervised, "status")["phase"] == phase
    assert validate(supervised, "stats")["phase"] == phase
    assert supervised.stop() == 0


def test_retry_matches_the_schemas(started, tmp_path):
    tries = tmp_path / "tries"
    program = f"""import os, signal
if not os.path.exists({str(tries)!r}):
    open({str(tries)!r}, "w").close()
    {FAILING}
signal.pause()"""
    supervised = started(program, "--max-retries", 3, "--retry-interval", 0.1)
    supervised.until_phase("retrying")
    status = validate(supervised, "status")
    assert (status["phase"], status["failure"]["error"]) == ("retrying", "ValueError: no weights")
    validate(supervised, "stats")
    assert supervised.stop() == 0
