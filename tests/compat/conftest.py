"""Fixtures of the stories: other people's servers are started in the same way as our own."""

from tests.stories.conftest import model, reserved_port, start

__all__ = ["model", "reserved_port", "start"]
