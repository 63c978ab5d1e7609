"""Benchmarks against peers; `make bench` runs them. They are not tests, and the product imports nothing from here."""
