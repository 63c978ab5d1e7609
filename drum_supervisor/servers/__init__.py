"""HTTP servers: `gunicorn` and each `*_server` run an application on a listener; only they import a server library.

Every server initializes before it accepts, and after a stop answers every connection it has accepted. Other processes
share the listener: a server closes it, and never shuts it down.
"""
