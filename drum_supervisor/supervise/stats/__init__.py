"""Samples of the programs' resource usage: when to take one, the scan of /proc, and what is kept. No decisions."""
