"""What a child finds when it begins: the listener, the report pipe, and the line that says it is ready."""

LISTENER_FD = 3

REPORT_FD = 4
REPORT_FD_VARIABLE = "DRUM_SUPERVISOR_REPORT_FD"
READY_LINE = b'{"kind": "ready"}\n'
