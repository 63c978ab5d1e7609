"""Options, environment variables and pages named in the documentation exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from drum_supervisor.cli.main import cli
from drum_supervisor.config.declaration import PREFIX
from drum_supervisor.config.settings import DECLARATIONS
from drum_supervisor.contract.report_pipe import REPORT_FD_VARIABLE
from tests.docs.render import PAGES, ROOT

ALL_PAGES = sorted(path for path in (ROOT / "README.md", *PAGES.glob("**/*.md")) if path.exists())
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+\b")
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

each_page = pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)


def known_options() -> set[str]:
    found = {"--help", "--version"}
    context = click.Context(cli)
    for command in cli.list_commands(context):
        for parameter in cli.get_command(context, command).params:
            if isinstance(parameter, click.Option):
                found |= {*parameter.opts, *parameter.secondary_opts}
    return found


def our_code(text: str) -> Iterator[str]:
    """Yield the code in a text that is about our command line: options, and calls up to the user's command."""
    for line in text.splitlines():
        if "drum-supervise" in line and not CODE.search(line):
            yield line.partition(" -- ")[0]
        for code in CODE.findall(line):
            if code.startswith("--") or "drum-supervise" in code:
                yield code.partition(" -- ")[0]


def test_pages_are_found():
    assert len(ALL_PAGES) > 2


@each_page
def test_every_option_exists(page: Path):
    named = {option for code in our_code(page.read_text(encoding="utf-8")) for option in OPTION.findall(code)}
    assert named - known_options() == set()


@each_page
def test_every_variable_exists(page: Path):
    known = {variable for declared in DECLARATIONS.values() for variable in declared.all_variables}
    assert set(VARIABLE.findall(page.read_text(encoding="utf-8"))) <= known | {REPORT_FD_VARIABLE}


@each_page
def test_every_linked_page_exists(page: Path):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


class TestOptionsAreFound:
    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("use `--workers 2` or `--no-error-server`", {"--workers", "--no-error-server"}),
            ("    drum-supervise start --address h:1 -- uvicorn app:app --fd {fd}", {"--address"}),
            ("| `hypercorn --bind fd://{fd}` | `drum-supervise start --ready port -- x --port 1` |", {"--ready"}),
            ("a -- b --- c `a--b`", set()),
        ],
    )
    def test_up_to_the_user_command(self, text, options):
        assert {option for code in our_code(text) for option in OPTION.findall(code)} == options
