"""What our own HTTP answers have in common, and the supervisor's readiness probe looks for."""

PROGRAM_HEADER = "X-Drum-Supervisor"
"""Names the program, error-server or stand-in, that answered in place of the model server."""
