"""Masks secrets by their known shapes, in every part of a failure which leaves the process."""

import re

MASK = "********"

# `tokens: 4096` counts the tokens of a language model; all other tokens are secrets.
_NAME = (
    r"(?:password|passwd|pwd|passphrase|secret|credential|token(?!s?[\"']?\s{0,9}[=:]\s{0,9}[0-9]{1,9}\b)"
    r"|(?:api|access|account|private|secret)[ _-]?key)s?\b"
)

_IS = r"""["']?[ \t]*[=:][ \t]*"""

# Linear time, even for a line of 64 KiB: no unbounded part precedes a fixed word, no two neighbours overlap.
_SHAPES = (
    # name = value, name: value, "name": "value", ?name=value
    rf"""(?i)(?P<keep>{_NAME}{_IS}b?(?P<quote>["']))(?P<secret>(?:(?!(?P=quote))[^\\\n]|\\.){{3,}})""",
    rf"""(?i)(?P<keep>{_NAME}{_IS})(?P<secret>[^\s"',;&}}]{{3,}})""",
    # --name value, '--name', 'value'
    rf"""(?i)(?P<keep>(?<![\w-])--[\w-]{{0,40}}?{_NAME}(?:["'],)?[ \t]+["']?)(?P<secret>[^\s"'-][^\s"']{{2,}})""",
    rf"""(?i)(?P<keep>\bauthorization{_IS}["']?(?:(?:basic|bearer|token)\s+)?)(?P<secret>[\w.~+/=-]{{8,}})""",
    # requires a digit or padding: the word after `basic` in a sentence has neither
    r"(?i)(?P<keep>\b(?:basic|bearer)\s+)(?P<secret>(?=[\w.~+/-]{0,200}[0-9=])[\w.~+/=-]{12,})",
    r"""(?i)(?P<keep>[?&](?:x-amz-|x-goog-)?(?:signature|sig)=)(?P<secret>[^\s"'&]{3,})""",
    r"(?P<keep>://[^\s/:@]*:)(?P<secret>[^\s/]+)(?=@)",
    r"(?P<keep>)(?P<secret>\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)",
    r"(?P<keep>)(?P<secret>\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|[sr]k_(?:live|test)_|AIza)[\w-]{16,})",
    r"(?P<keep>)(?P<secret>\b(?:hf_[A-Za-z0-9]{30,}|sk-(?=[\w-]{0,80}[0-9])[\w-]{16,}))",
    r"(?P<keep>)(?P<secret>(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)",
    r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<secret>[\s\S]*?)(?=-----END|\Z)",
)

# Compiled here, so that a failure does not wait for it.
_PATTERNS = [re.compile(shape) for shape in _SHAPES]


def mask_secrets(text: str) -> str:
    """Return `text` with everything shaped like a password, token or key masked."""
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: match["keep"] + MASK, text)
    return text
