"""What the user wants to run: the built-in model server, or a command, with what is known of its habits."""

from collections.abc import Mapping
from dataclasses import field

from drum_supervisor.quick_dataclass import dataclass

WITH_ERROR_SERVER = "WITH_ERROR_SERVER"


@dataclass(frozen=True)
class Command:
    """A command; without arguments: the built-in model server.

    Attributes:
        argv: {fd}, {host} and {port} stand for the number of the listener and the address.
        name: what `status` calls it.
        takes_listener: whether it is known to take a listener that LISTEN_FDS announces.
        own_workers: whether `--workers` is its own business: it is started once.
        environment: variables that are set for it.
    """

    argv: tuple[str, ...] = field(default=())
    name: str = "command"
    takes_listener: bool = False
    own_workers: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def built_in(self) -> bool:
        return not self.argv

    def uses(self, name: str) -> bool:
        return any(f"{{{name}}}" in argument for argument in self.argv)


def error_server_is_ours(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables that keep a DRUM, wherever in a command it is started, from an error server of its own.

    It would answer for a model that could not be loaded, in each of its workers apart.
    """
    return ((WITH_ERROR_SERVER, ""),) if environ.get(WITH_ERROR_SERVER) else ()  # empty is unset, to DRUM
