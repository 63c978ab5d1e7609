"""`python -m drum_supervisor` is `drum-supervise`."""

import sys

from drum_supervisor.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
