"""Sampling: when to look at the programs, one look in steps, and what is kept of it."""
