"""Entry points of the child processes: `python -m drum_supervisor.serve.model`, `.error`, and their HTTP hosts.

A module here parses its arguments, assembles service, front and host, and exits. It decides nothing else.
"""
