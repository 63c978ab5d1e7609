"""What programs and supervisor write: streams with back-pressure, the log, the log buffer, line formats."""
