"""The output of programs and supervisor: streams with back-pressure, the log, recent output. Only `flush` blocks."""
