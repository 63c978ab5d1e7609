"""From what was seen of a program to a failure report: exit statuses, tracebacks, sentences. Pure."""
