"""Reading configuration files in INI form, and saying where in them something stands."""

import configparser
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drum_supervisor.contract.exits import UsageError

_HEADER = re.compile(r"\[(?P<section>[^]]+)\]")
_KEY = re.compile(r"(?P<key>[^\s=:;#\[][^=:]*?)\s*(?:[=:]|$)")


@dataclass(frozen=True)
class Section:
    """A section of a file; its keys are in lower case.

    Attributes:
        path: of the file.
        lines: of each key; of the heading: "".
    """

    name: str
    values: Mapping[str, str]
    path: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str = "") -> str:
        """Say where a key stands, or the section."""
        return f"{self.path!r}, line {self.lines.get(key, self.lines.get('', 1))}"


def read(path: str, comments: Sequence[str]) -> list[Section]:
    """Return the sections of a file.

    Args:
        comments: what begins one within a line, after a blank.

    Raises:
        UsageError: it cannot be read, or says the same thing twice.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=comments, strict=True, default_section="")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parser.read_string(text, path)
    except OSError as error:
        raise UsageError(f"--config: cannot read {path!r}: {error.strerror}.") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"--config: {path!r} is no configuration file: {' '.join(str(error).split())}") from error
    lines = _lines(text)
    return [Section(name, dict(parser.items(name)), os.fspath(path), lines.get(name, {})) for name in parser.sections()]


def _lines(text: str) -> dict[str, dict[str, int]]:
    """Return the line of each key in each section, which the parser does not tell."""
    found: dict[str, dict[str, int]] = {}
    for number, section, key in _numbered(text):
        found.setdefault(section, {}).setdefault(key.lower(), number)
    return found


def _numbered(text: str) -> Iterator[tuple[int, str, str]]:
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header["section"]
            yield number, section, ""
        elif key := _KEY.match(line):
            yield number, section, key["key"]
