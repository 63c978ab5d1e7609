"""What a child inherits: the listener, the report pipe and the name of its program."""

LISTENER_FD = 3

REPORT_FD = 4
REPORT_FD_VARIABLE = "DRUM_SUPERVISOR_REPORT_FD"

PROGRAM_VARIABLE = "DRUM_SUPERVISOR_PROGRAM"
"""Names the program of each process, also of one which left the program's process tree."""
