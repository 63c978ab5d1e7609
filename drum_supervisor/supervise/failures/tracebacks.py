"""Finds errors in the output of a program: tracebacks of Python, JavaScript, Java and Go. Pure."""

import re
from itertools import pairwise, takewhile

from drum_supervisor.contract.report_pipe import InitFailedMessage

# Log formats and exception groups prefix each line: the prefix stands before the first frame.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\r?\n(?P<prefix>.*?)  File ")
_LAST_LINE = re.compile(r"^(?P<type>[^\W\d][\w.<>]*)(?:: (?P<message>.*))?$")
# A line that ends a traceback: the beginning of a log line in most formats, or the next exception of a chain.
_LOG_LINE = re.compile(r"\[|\d{4}-\d\d-\d\d|[A-Z]{4,8}[ :]|Traceback |During handling |The above exception ")
# When two workers print at the same time, a traceback may lose its first line.
_FRAME = re.compile(r'[ \t]+File "[^"]*", line \d+, in ')
_CHAINS = ("another exception occurred:", "the direct cause of the following exception:")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
MAX_STACK = 8000
_STACK = re.compile(
    # an error and its message, perhaps of several lines, right before the frames: `    at load (server.js:1:24)`
    r'^(?:Exception in thread "[^"\n]*" )?(?P<type>[A-Za-z_$][\w.$]*)(?: \[\w+\])?'
    r"(?:: (?P<message>.*(?:\n(?![ \t]+at ).+){0,5}))?\n(?:[ \t]+at [^\n]*(?:\n|$))+",
    re.MULTILINE,
)
_PANIC = re.compile(r"^(?P<type>panic): (?P<message>.*)\n(?:.*\n){0,5}?goroutine \d+ \[", re.MULTILINE)

# Python cannot parse the program's first file: there are no frames, and so no traceback.
_UNPARSABLE = re.compile(
    r'^  File "[^"\n]*", line \d+\n(?:    .*\n){0,3}(?P<type>SyntaxError|IndentationError|TabError): (?P<message>.*)',
    re.MULTILINE,
)


def find_last_error(stderr: str, stdout: str) -> InitFailedMessage | None:
    """Return the last error on stderr; without one the last on stdout, where some servers log."""
    for text in (stderr, stdout):
        if error := find_last_traceback(text) or find_last_stack(text):
            return error
    return None


def find_last_traceback(printed: str) -> InitFailedMessage | None:
    """Return the exception of the last Python traceback; None if there is none, or if it is cut off."""
    plain = _COLOR.sub("", printed)
    found = list(_TRACEBACK.finditer(plain))
    return _parse_traceback(plain[found[-1].start() :], found[-1]["prefix"]) if found else None


def _parse_traceback(plain: str, prefix: str) -> InitFailedMessage | None:
    lines = [line.removeprefix(prefix) for line in plain.splitlines()]
    for number, line in enumerate(lines[1:], 1):
        if line and not line.startswith((" ", "\t", "+", "|")):
            match = _LAST_LINE.match(line)
            if match is None:
                return None
            rest = list(takewhile(lambda line: not _FRAME.match(line), lines[number + 1 :]))
            more = _lines_of_empty_message(rest) if match["message"] == "" else _indented_lines(rest)
            message = "\n".join([match["message"] or "", *more]).strip()
            return InitFailedMessage(
                "", match["type"].rpartition(".")[2], message, "\n".join(lines[: number + 1]) + "\n"
            )
    return None


def find_earlier_traceback(printed: str) -> InitFailedMessage | None:
    """Return the last exception before the final one which differs from it and is not part of its chain."""
    plain = _COLOR.sub("", printed)
    last = find_last_traceback(plain)
    if last is None:
        return None
    for following, match in pairwise(reversed([*_TRACEBACK.finditer(plain)])):
        text = plain[: following.start()]
        earlier = _parse_traceback(text[match.start() :], match["prefix"])
        if earlier is None:
            return None
        if not _is_continued(text, earlier) and (earlier.type, earlier.message) != (last.type, last.message):
            return earlier
    return None


def find_last_stack(printed: str) -> InitFailedMessage | None:
    """Return the last error with a stack other than a Python traceback; of a chain in Java the outermost exception."""
    matches = [match for pattern in (_STACK, _PANIC, _UNPARSABLE) for match in pattern.finditer(printed)]
    if not matches:
        return None
    last = max(matches, key=lambda match: match.start())
    stack = printed[last.start() :][:MAX_STACK]
    return InitFailedMessage("", last["type"].rpartition(".")[2], (last["message"] or "").strip(), stack)


def _is_continued(text: str, exception: InitFailedMessage) -> bool:
    """Whether a traceback after `text` belongs to the last exception in it: to its chain, or to its message."""
    in_message = bool(exception.message) and text.endswith(exception.message)
    return in_message or text.rstrip().endswith(_CHAINS)


def _indented_lines(lines: list[str]) -> list[str]:
    """Return the rest of a message. Lines that are not indented may be other output, and are left out."""
    return list(takewhile(lambda line: line.startswith((" ", "\t")) and not line.lstrip().startswith("+-"), lines[:20]))


def _lines_of_empty_message(lines: list[str]) -> list[str]:
    """Return a message that begins with a line break: the lines up to the next log line."""
    before = takewhile(lambda line: not _LOG_LINE.match(line), lines[:20])
    return [line.strip() for line in before if line.strip()]
