"""Configuration files in INI form, with the line of each section and key for error messages."""

import configparser
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drum_supervisor.contract.exits import UsageError

CONFIG_SECTION = "drum-supervise"

_HEADER = re.compile(r"\[(?P<section>[^]]+)\]")
_KEY = re.compile(r"(?P<key>[^\s=:;#\[][^=:]*?)\s*(?:[=:]|$)")


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes:
        values: by key, in lower case.
        lines: the line of each key; that of the section's header under "".
    """

    name: str
    values: Mapping[str, str]
    path: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def location(self, key: str = "") -> str:
        """Return the path and line of a key, or of the section's header."""
        return f"{self.path!r}, line {self.lines.get(key, self.lines.get('', 1))}"


def read_sections(path: str, comments: Sequence[str]) -> list[Section]:
    """Return the sections of a file; `comments` are the prefixes of inline comments.

    Raises:
        UsageError: the file cannot be read, is not an INI file, or has a section or key twice.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=comments, strict=True, default_section="")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parser.read_string(text, path)
    except OSError as error:
        raise UsageError(f"--config: cannot read {path!r}: {error.strerror}.") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"--config: {path!r} is not a configuration file: {' '.join(str(error).split())}") from error
    lines = _line_numbers(text)
    return [Section(name, dict(parser.items(name)), os.fspath(path), lines.get(name, {})) for name in parser.sections()]


def read_settings(path: str, names: Sequence[str]) -> dict[str, str]:
    """Return the settings in the section [drum-supervise], by name; empty ones count as unset.

    Raises:
        UsageError: the file cannot be read, or the section has a key that is not in `names`.
    """
    ours = next((section for section in read_sections(path, comments=(";",)) if section.name == CONFIG_SECTION), None)
    if ours is None:
        return {}
    for key in ours.values:
        if key.replace("-", "_") not in names:
            raise UsageError(
                f"--config: {ours.location(key)} sets {key!r}, which is not a setting that a file can have."
            )
    found = {key.replace("-", "_"): text for key, text in ours.values.items()}
    return {name: text for name, text in found.items() if text}


def _line_numbers(text: str) -> dict[str, dict[str, int]]:
    """Return the line of each key in each section; configparser does not report them."""
    found: dict[str, dict[str, int]] = {}
    for number, section, key in _headers_and_keys(text):
        found.setdefault(section, {}).setdefault(key.lower(), number)
    return found


def _headers_and_keys(text: str) -> Iterator[tuple[int, str, str]]:
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header["section"]
            yield number, section, ""
        elif key := _KEY.match(line):
            yield number, section, key["key"]
