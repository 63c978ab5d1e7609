"""Errors that are no traceback: as JavaScript, Java and Go print them, and Python what it cannot read. Pure."""

import re
from dataclasses import dataclass

LONGEST_STACK = 8000
_AT = re.compile(
    # an error and its message, of some lines perhaps, right before the frames: `    at load (server.js:1:24)`
    r'^(?:Exception in thread "[^"\n]*" )?(?P<type>[A-Za-z_$][\w.$]*)(?: \[\w+\])?'
    r"(?:: (?P<message>.*(?:\n(?![ \t]+at ).+){0,5}))?\n(?:[ \t]+at [^\n]*(?:\n|$))+",
    re.MULTILINE,
)
_PANIC = re.compile(r"^(?P<type>panic): (?P<message>.*)\n(?:.*\n){0,5}?goroutine \d+ \[", re.MULTILINE)

# A program of which Python cannot read the first file: there is nothing to be traced back.
_UNREADABLE = re.compile(
    r'^  File "[^"\n]*", line \d+\n(?:    .*\n){0,3}(?P<type>SyntaxError|IndentationError|TabError): (?P<message>.*)',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Stack:
    """An error and where it came from: `text` is as it was printed."""

    type: str
    message: str
    text: str


def last_stack(printed: str) -> Stack | None:
    """Return the last error with its stack in what was printed; of Java's causes the one that they caused."""
    matches = [match for pattern in (_AT, _PANIC, _UNREADABLE) for match in pattern.finditer(printed)]
    if not matches:
        return None
    last = max(matches, key=lambda match: match.start())
    text = printed[last.start() :][:LONGEST_STACK]
    return Stack(last["type"].rpartition(".")[2], (last["message"] or "").strip(), text)
