"""Watches of a run's descendants: dead workers during start-up, OOM kills, the memory limit."""
