"""gunicorn as the model server: its settings, hooks and workers, and the reports to the supervisor.

Only this package imports gunicorn; connections and HTTP are those of `servers.wsgi`.
"""
