"""gunicorn for any WSGI application, configured by DRUM's runtime parameters, with a context for each worker.

    gunicorn -c conf/gunicorn.conf.py --bind 0.0.0.0:8080 app:app

Options on the command line win over this file. Like `--no-control-socket`, it disables the control socket.

Add threads, and anything else which lives as long as a worker, to `worker.ctx`, a `WorkerCtx` (docs/lifecycle.md): copy
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
