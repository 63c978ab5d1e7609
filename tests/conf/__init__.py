"""Tests of `conf/` against published schemas and against our own settings: `make conf`."""
