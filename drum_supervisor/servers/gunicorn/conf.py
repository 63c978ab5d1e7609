"""A configuration for any WSGI application: `gunicorn -c python:drum_supervisor.servers.gunicorn.conf app:app`.

DRUM's runtime parameters set it; options on gunicorn's command line win. Each worker has a `WorkerCtx` as `worker.ctx`,
and its stdout is flushed while it lives. `conf/gunicorn.conf.py` shows how to extend it.
"""

import os
import sys

from drum_supervisor.config.gunicorn import read_parameters
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.servers.gunicorn.hooks import post_worker_init, settings, worker_exit
from drum_supervisor.servers.process import log_line

__all__ = ["post_worker_init", "worker_exit"]  # and the settings below

try:
    _settings = settings(read_parameters(os.environ))
except UsageError as error:
    # gunicorn prints a traceback of every exception but SystemExit
    log_line(str(error))
    sys.exit(error.exit_code)

# gunicorn reads its settings from the globals of this module; an unset one must not be defined.
globals().update(_settings)
__all__ += list(_settings)
