"""What can go wrong with one request: its data, or what the model's hooks return for it."""


class PayloadError(ValueError):
    """The client sent data that cannot be read; the text is a sentence for the client."""


class ResultError(ValueError):
    """A hook returned something else than it must; the text says what was expected and what came."""
