"""`model-metadata.yaml`, as much of it as the built-in model server uses: the `name: value` lines at its top level.

Read line by line on purpose: the same with and without PyYAML installed. Nested values, lists and blocks are left out.
"""

import re
from pathlib import Path

from drum_supervisor.contract.exits import UsageError

METADATA_FILE = "model-metadata.yaml"

_LINE = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)\s*:\s+(?P<value>\S.*)")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>[^"'\\]*)(?P=quote)\s*(#.*)?""")
_NO_PLAIN_TEXT = tuple("\"'#|>&*!%@`[{")


def read_metadata(code_dir: Path) -> dict[str, str]:
    """Return the top-level texts of the file in `code_dir`; empty without such a file.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    path = code_dir / METADATA_FILE
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"Cannot read {str(path)!r}: {reason}.") from error
    read = {match["name"]: _text(match["value"]) for match in map(_LINE.fullmatch, lines) if match}
    return {name: text for name, text in read.items() if text}


def _text(value: str) -> str:
    """Return a scalar without its quotes and comment; nothing for what is no plain scalar on one line."""
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        return quoted["text"]
    return "" if value.startswith(_NO_PLAIN_TEXT) else re.split(r"\s#", value)[0].strip()
