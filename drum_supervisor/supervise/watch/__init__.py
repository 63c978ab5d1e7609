"""Watches over a program's own processes: workers that die, memory that runs out, workers to be recycled."""
