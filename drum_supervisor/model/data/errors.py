"""What can go wrong in one prediction request."""


class PayloadError(ValueError):
    """The request's data is unusable; the text is sent to the client."""


class ResultError(ValueError):
    """A hook or model returned an invalid result; the text says what was expected and what was returned."""
