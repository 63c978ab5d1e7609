"""From what was observed of a program to a failure report: exit statuses, tracebacks, sentences. Pure."""
