"""What docs/design.md shows of the structure, rendered from pyproject.toml, the folders' docstrings and the imports."""

import ast
from pathlib import Path

from tests.docs.render import table
from tests.structure import PACKAGE, ROOT, Module, Structure

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib


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
    structure = Structure()
    inits = {module.path.parent: module for module in structure.modules.values() if module.path.name == "__init__.py"}
    rows = [
        [
            f"`{_name(folder)}/`",
            _purpose(inits[folder]),
            ", ".join(f"`{name}`" for name in sorted(_imported_folders(structure, folder))),
        ]
        for folder in sorted(inits.keys() - {PACKAGE})
    ]
    return table(["folder", "what is there", "imports"], rows)


def _name(folder: Path) -> str:
    return folder.relative_to(PACKAGE).as_posix()


def _purpose(init: Module) -> str:
    docstring = ast.get_docstring(init.tree) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _imported_folders(structure: Structure, folder: Path) -> set[str]:
    """Return the other folders that the modules of `folder` import, without the top of the package."""
    own = (name for name, module in structure.modules.items() if module.path.parent == folder)
    found = {structure.modules[name].path.parent for module in own for name in structure.imports[module]}
    return {_name(each) for each in found - {folder, PACKAGE}}
