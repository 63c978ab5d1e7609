"""What a child finds when it begins: the listener, the report pipe, the line that says it is ready, and who it is."""

LISTENER_FD = 3

REPORT_FD = 4
REPORT_FD_VARIABLE = "DRUM_SUPERVISOR_REPORT_FD"
READY_LINE = b'{"kind": "ready"}\n'

PROGRAM_VARIABLE = "DRUM_SUPERVISOR_PROGRAM"
"""Says in each process which program it belongs to, also when it has left that program's tree."""
