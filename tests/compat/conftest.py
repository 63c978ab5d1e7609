"""The fixtures of the stories: third-party servers start as our own do."""

from tests.stories.conftest import model, reserved_port, start

__all__ = ["model", "reserved_port", "start"]
