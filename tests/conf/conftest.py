"""These tests have an environment of their own, `make conf`; in any other they are not even looked at."""

from importlib.util import find_spec

if not find_spec("kubernetes_validate"):
    collect_ignore_glob = ["test_*.py"]
