"""These tests have their own environment, `make conf`. In any other they are not collected."""

from importlib.util import find_spec

if not find_spec("kubernetes_validate"):
    collect_ignore_glob = ["test_*.py"]
