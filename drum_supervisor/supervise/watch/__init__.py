"""Watches over what goes on below a program: workers that die, memory that runs out, workers that should be replaced."""
