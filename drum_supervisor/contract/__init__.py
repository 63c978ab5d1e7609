"""What the supervisor and its children agree on: exit codes, the report pipe, the failure report, the listener.

Standard library only, and small: every process imports this, also the one that answers when nothing else can.
"""
