"""gunicorn for any WSGI application, set by DRUM's runtime parameters, with a context for each worker.

    gunicorn -c conf/gunicorn.conf.py --bind 0.0.0.0:8080 app:app

Options on the command line win over this file. It disables the control socket, as `--no-control-socket` does.

Threads and whatever else lives as long as a worker are added to `worker.ctx`, a `WorkerCtx` (docs/lifecycle.md): copy
this file and append

    from drum_supervisor.servers.gunicorn import conf as gunicorn_conf

    def post_worker_init(worker):
        gunicorn_conf.post_worker_init(worker)
        worker.ctx.add_thread(poller)  # started at once; the stop waits for its end
        worker.ctx.defer_stop(poller.finish)
        worker.ctx.add_closeable(database)  # closed after the stop

A Flask application finds the same context in `app.extensions["worker_ctx"]`.
"""

from drum_supervisor.servers.gunicorn.conf import *  # noqa: F403
