"""Entry points of the child processes: `python -m drum_supervisor.serve.model`, `.error`, `.exporter`.

A module here parses its arguments, assembles a server, and exits. All logic is below.
"""
