"""The phase of the service, which the policy decides and every view shows."""

from enum import Enum


class Phase(str, Enum):
    """The phase of the service."""

    STARTING = "starting"
    SERVING = "serving"
    FAILED = "failed"
    RETRYING = "retrying"
    STOPPING = "stopping"

    @property
    def has_failed(self) -> bool:
        """Whether the error server answers: the service has failed, and no worker has been ready since."""
        return self in (Phase.FAILED, Phase.RETRYING)
