"""gunicorn's threaded worker, with limits for clients and with the responses of our other servers.

`servers.wsgi_server` runs it in this process, `servers.gunicorn` below gunicorn's master.
"""
