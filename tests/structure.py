"""The structure of the package as its source shows it: folders, imports, classes, functions."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "drum_supervisor"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file, parsed.

    Attributes:
        name: dotted; that of a package for its `__init__.py`.
    """

    name: str
    path: Path
    tree: ast.Module

    def functions(self) -> Iterator[Function]:
        """Yield all functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def classes(self) -> list[str]:
        """Return the names of the classes at module level."""
        return [node.name for node in self.tree.body if isinstance(node, ast.ClassDef)]


class Structure:
    """A package's source, below the folder `root`."""

    def __init__(self, root: Path = PACKAGE) -> None:
        self.root = root
        parsed = [parse(path, root.parent) for path in sorted(root.rglob("*.py"))]
        self.modules = {module.name: module for module in parsed}

    def folders(self) -> dict[Path, list[Module]]:
        """Return the modules of each folder, without `__init__.py`."""
        found: dict[Path, list[Module]] = {module.path.parent: [] for module in self.modules.values()}
        for module in self.modules.values():
            if module.path.name != "__init__.py":
                found[module.path.parent].append(module)
        return found

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """The modules of this package that each module imports, wherever the statement stands.

        The package itself is left out: it has no code.
        """
        return {
            name: {each for each in self._imported(module.tree) if each in self.modules} - {name, self.root.name}
            for name, module in self.modules.items()
        }

    def _imported(self, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from (name if name in self.modules else str(node.module) for name in names)

    @property
    def imports_per_file(self) -> float:
        """The mean over all files that have content."""
        files = [module for module in self.modules.values() if module.tree.body]
        return sum(map(len, self.imports.values())) / len(files)

    def cycle(self) -> list[str]:
        """Return modules that import each other in a circle, [] if there are none."""
        try:
            TopologicalSorter(self.imports).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []

    def longest_chain(self) -> list[str]:
        """Return the longest chain of modules each of which imports the next.

        Raises:
            CycleError: there is a cycle.
        """
        chains: dict[str, list[str]] = {}
        for name in TopologicalSorter(self.imports).static_order():  # what is imported comes first
            below = (chains[each] for each in sorted(self.imports[name]))
            chains[name] = [name, *max(below, key=len, default=[])]
        return max(chains.values(), key=len)


def parse(path: Path, root: Path) -> Module:
    """Read a source file; its dotted name is relative to `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(path.read_text(encoding="utf-8")))


def parameters(function: Function) -> list[str]:
    """Return the names of a function's parameters; self, cls, `*args` and `**kwargs` do not count."""
    declared = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [each.arg for each in declared if each.arg not in ("self", "cls")]
