"""What to do about each event: a table of pure functions. No clock, no I/O, nothing of the engine."""
