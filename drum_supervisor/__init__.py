"""drum_supervisor: a supervisor for model servers that answers even when the model cannot load.

Nothing is imported here: each process (supervisor, model server, error server) imports only what it runs.
"""

__version__ = "0.1.0"
