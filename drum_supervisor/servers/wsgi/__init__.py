"""A threaded WSGI server which loses no request when processes are swapped: accept, read, respond, stop.

No framework here, and no gunicorn: `servers.gunicorn` uses this package.
"""
