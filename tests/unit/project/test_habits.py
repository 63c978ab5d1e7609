"""The project's habits, as far as a machine can check them: sizes, imports, names, commit subjects."""

import ast
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.structure import PACKAGE, ROOT, Module, Structure, parameters, parse

STRUCTURE = Structure()

MOST_MODULES = 14
MOST_MODULES_AT_THE_TOP = 12
MOST_PARAMETERS = 6
LONGEST_CHAIN = 12
MOST_IMPORTS_PER_FILE = 3.0
LONGEST_TEST_NAME = 60
LONGEST_SUBJECT = 72


def listed(offenders: Iterable[str]) -> str:
    return "\n" + "\n".join(sorted(offenders))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


class TestFolders:
    def test_each_has_an_init_file(self):
        missing = [relative(folder) for folder in STRUCTURE.folders() if not (folder / "__init__.py").exists()]
        assert not missing, listed(missing)

    def test_each_init_file_is_a_docstring_and_nothing_else(self):
        packages = [module for module in STRUCTURE.modules.values() if module.path.name == "__init__.py"]
        wrong = [relative(package.path) for package in packages if not is_docstring_only(package)]
        assert not wrong, listed(wrong)

    def test_none_has_too_many_modules(self):
        large = [
            f"{relative(folder)}: {len(modules)} modules"
            for folder, modules in STRUCTURE.folders().items()
            if len(modules) > (MOST_MODULES_AT_THE_TOP if folder == PACKAGE else MOST_MODULES)
        ]
        assert not large, listed(large)


def is_docstring_only(package: Module) -> bool:
    if not ast.get_docstring(package.tree):
        return False
    rest = [ast.unparse(node) for node in package.tree.body[1:]]
    return not rest or (package.path.parent == PACKAGE and len(rest) == 1 and rest[0].startswith("__version__ = "))


class TestImports:
    def test_have_no_cycle(self):
        cycle = STRUCTURE.cycle()
        assert not cycle, " -> ".join(cycle)

    def test_form_no_long_chain(self):
        chain = STRUCTURE.longest_chain()
        assert len(chain) <= LONGEST_CHAIN, f"{len(chain)} modules: {' -> '.join(chain)}"

    def test_are_few_per_file(self):
        most = sorted(STRUCTURE.imports.items(), key=lambda item: -len(item[1]))[:20]
        counts = [f"{len(imported):3} {name}" for name, imported in most]
        mean = STRUCTURE.imports_per_file
        assert mean <= MOST_IMPORTS_PER_FILE, f"{mean:.2f} imports of our own per file; most have:" + listed(counts)


def test_functions_have_few_parameters():
    long = [
        f"{relative(module.path)}:{function.lineno} {function.name} has {len(parameters(function))} parameters"
        for module in STRUCTURE.modules.values()
        for function in module.functions()
        if len(parameters(function)) > MOST_PARAMETERS
    ]
    assert not long, listed(long)


def test_class_names_are_unique_in_the_package():
    places: dict[str, list[str]] = defaultdict(list)
    for module in STRUCTURE.modules.values():
        for name in module.classes():
            places[name].append(module.name)
    twice = [f"{name}: {', '.join(modules)}" for name, modules in places.items() if len(modules) > 1]
    assert not twice, listed(twice)


def test_test_names_are_short():
    long = [
        f"{relative(module.path)}:{function.lineno} {function.name}: {len(function.name)} characters"
        for module in (parse(path, ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py")))
        for function in module.functions()
        if function.name.startswith("test_") and len(function.name) > LONGEST_TEST_NAME
    ]
    assert not long, listed(long)


def test_commit_subjects_are_short():
    long = [f"{len(subject)} characters: {subject}" for subject in subjects() if len(subject) > LONGEST_SUBJECT]
    assert not long, listed(long)


def subjects() -> list[str]:
    """Return the subjects of this file's first commit and of all later ones.

    There are none without git and its history. A shallow clone has as many as it holds.
    """
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return []
    added = git("log", "--diff-filter=A", "--format=%H", "--", relative(Path(__file__)))
    if not added:
        return []
    return [*git("log", "-1", "--format=%s", added[-1]), *git("log", "--format=%s", f"{added[-1]}..HEAD")]


def git(*arguments: str) -> list[str]:
    """Return the lines that a git command prints; [] if it fails, on a repository of another user for example."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
