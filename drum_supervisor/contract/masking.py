"""Masking of secrets by their known shapes, in everything of a failure that leaves the process."""

import re

MASK = "********"

_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        # Nothing unbounded may stand before a fixed word: a long line of letters would take quadratic time.
        # name = value, name: value, "name": "value", --name value, ?name=value
        r"""(?i)(?P<keep>(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?\b"""
        r"""["']?\s*[=:]\s*["']?)(?P<secret>[^\s"',;&}]{3,})""",
        r"(?i)(?P<keep>\bauthorization[\"']?\s*[=:]\s*[\"']?(?:basic|bearer|token)?\s*)(?P<secret>[\w.~+/=-]{8,})",
        r"(?i)(?P<keep>\b(?:basic|bearer)\s+)(?P<secret>[\w.~+/=-]{12,})",
        r"(?P<keep>\b[a-zA-Z][\w+.-]{0,20}://[^\s/:@]*:)(?P<secret>[^\s/@]+)(?=@)",
        r"(?P<keep>)(?P<secret>\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)",
        r"(?P<keep>)(?P<secret>\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|sk-|sk_live_|rk_live_|AIza)[\w-]{16,})",
        r"(?P<keep>)(?P<secret>\beyJ[\w-]{8,2000}\.[\w-]{8,2000}\.[\w-]*)",
        r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<secret>[\s\S]*?)(?=-----END|\Z)",
    )
)


def mask_secrets(text: str) -> str:
    """Return `text` with everything that has the shape of a password, token or key replaced by a mask."""
    for shape in _SHAPES:
        text = shape.sub(lambda match: match["keep"] + MASK, text)
    return text
