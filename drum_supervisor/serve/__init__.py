"""Entry points of the child processes: `python -m drum_supervisor.serve.model`, `.error`, `.stand_in`.

A module here parses its arguments, assembles what serves, and exits. It decides nothing else.
"""
