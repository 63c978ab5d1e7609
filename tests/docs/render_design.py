"""What docs/design.md shows of the structure, rendered from pyproject.toml, the folders' docstrings and the imports."""

import ast
from collections import defaultdict
from pathlib import Path

from tests.docs.render import ROOT, table

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PACKAGE = ROOT / "drum_supervisor"


def layers() -> str:
    """Return the layers of the import contracts: the package's, with those of supervise/ beside it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [each for each in config["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    outer, inner = ([_layer(line) for line in each["layers"]] for each in contracts)
    width = max(map(len, outer)) + 6
    height = max(len(outer), len(inner))
    outer, inner = (lines + [""] * (height - len(lines)) for lines in (outer, inner))
    rows = [f"{'drum_supervisor/':{width}}drum_supervisor/supervise/", ""]
    rows += [f"{left:{width}}{right}".rstrip() for left, right in zip(outer, inner, strict=True)]
    return "\n".join(["```", *rows, "```"])


def _layer(line: str) -> str:
    return line.replace("(", "").replace(")", "")


def folders() -> str:
    """Return each folder, what may live there, and which others it imports."""
    imported = _imports_of_folders()
    rows = [
        [f"`{_name(folder)}/`", _purpose(folder), ", ".join(f"`{name}`" for name in sorted(imported[_name(folder)]))]
        for folder in _folders()
    ]
    return table(["folder", "what is there", "imports"], rows)


def _folders() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def _name(folder: Path) -> str:
    return folder.relative_to(PACKAGE).as_posix()


def _purpose(folder: Path) -> str:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _imports_of_folders() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        own = _name(path.parent)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("drum_supervisor."):
                for alias in node.names:
                    folder = _folder_of(f"{node.module}.{alias.name}")
                    if folder not in (own, "."):
                        found[own].add(folder)
    return found


def _folder_of(dotted: str) -> str:
    """Return the folder of a module, or of the module that a name comes from."""
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    while not path.is_dir():
        path = path.parent
    return _name(path)
