"""Watches of a run's descendants: workers that die or are OOM-killed, the memory limit."""
