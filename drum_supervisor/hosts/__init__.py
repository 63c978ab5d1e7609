"""HTTP servers: a `*_host` runs an application on a listener with one of them, and nobody else imports that server.

ASGI is uvicorn's. WSGI is ours, in this process or in each worker of gunicorn's: `wsgi_server` accepts, a
`conversation` is one connection, `incoming` and `wsgi_answer` are its two directions, `waiting` says for whom we wait.

All do the same: initialize first, accept second, and after a stop answer every connection that was accepted, also one
whose request has not arrived yet. The listener is shared with other processes: it is closed, never shut down.
`process` and `progress` are what every process that serves does around that: signals, the listener, the report.
"""
