"""The entry point of the error server."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_needs_only_the_standard_library():
    program = "import sys, drum_supervisor.serve.error; print(*{name.partition('.')[0] for name in sys.modules})"
    argv = [sys.executable, "-S", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert set(loaded) - {"__main__", "drum_supervisor"} <= sys.stdlib_module_names
