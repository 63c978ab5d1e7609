"""Measurements beside peers; `make bench` runs them. Nothing of it is a test, and nothing of the product imports it."""
