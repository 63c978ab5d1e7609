"""A configuration for any WSGI application: `gunicorn -c python:drum_supervisor.servers.gunicorn.conf app:app`.

DRUM's runtime parameters set it; what is written on gunicorn's command line wins. Each worker has a `WorkerCtx` as
`worker.ctx`, and what is printed reaches the log while the worker lives. How to add to it: `conf/gunicorn.conf.py`.
"""

import os
import sys

from drum_supervisor.config.gunicorn import read
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.servers.gunicorn.hooks import post_worker_init, settings, worker_exit
from drum_supervisor.servers.process import tell

__all__ = ["post_worker_init", "worker_exit"]  # and what is set below

try:
    _settings = settings(read(os.environ))
except UsageError as error:
    # gunicorn would print a traceback of anything but an exit
    tell(str(error))
    sys.exit(error.exit_code)

# gunicorn takes its settings from the names of the module; what is not set must not be there.
globals().update(_settings)
__all__ += list(_settings)
