"""The base of dispatchers that only read."""


class Reader:
    """A dispatcher of the engine's loop that only reads from its descriptor, until it is closed."""

    closed = False

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def readable(self) -> bool:
        return not self.closed

    def writable(self) -> bool:
        return False

    def handle_write_event(self) -> None: ...

    def handle_error(self) -> None: ...  # an error of a read; the loop goes on
