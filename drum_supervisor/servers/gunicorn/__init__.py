"""gunicorn as the model server: its settings, hooks and workers, and the reports to the supervisor.

Connections and HTTP are those of `servers.wsgi`.
"""
