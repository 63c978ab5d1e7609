"""`python -m compat.run`: third-party servers under `drum-supervise start`, each in an environment of its own.

Creates the environments below `.compat/`, runs all scenarios with each server, and prints a table of the
observations. The exit code is 1 if the supervisor broke a promise.
"""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from compat.environments import NotHereError, made, version_of
from compat.scenarios import scenarios
from compat.servers import SERVERS, Server

COLUMNS = ("ready", "prediction", "restart", "worker", "crash", "stop", "import", "load", "hang")


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Only servers whose name begins so; may be repeated.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="All figures, as JSON.")
def main(only: tuple[str, ...], json_file: Path | None) -> None:
    """Test all servers and print a table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all child processes are stopped
    json_file = json_file.absolute() if json_file else None
    chosen = [server for server in SERVERS if not only or server.name.startswith(only)]
    if not chosen:
        raise click.UsageError(f"No such server. There are: {', '.join(server.name for server in SERVERS)}")
    results = []
    for server in chosen:
        results.append(result(server))
        if json_file:
            json_file.write_text(json.dumps(results, indent=1))
    click.echo("\n" + table(results))
    sys.exit(any(not seen["good"] for found in results for seen in found["seen"].values()))


def result(server: Server) -> dict[str, Any]:
    """Run all scenarios with one server and print each observation."""
    click.echo(f"{server.name}")
    found: dict[str, Any] = {"name": server.name, "listener": "inherited" if server.shared else "its own"}
    found |= {"version": "", "why_not": "", "seen": {}}
    try:
        environment = made(server)
        found["version"] = version_of(server, environment)
    except NotHereError as error:
        found["why_not"] = str(error)
        click.echo(f"  not here: {error}")
        return found
    with tempfile.TemporaryDirectory() as folder:
        for name, seen in scenarios(server, environment, Path(folder)):
            found["seen"][name] = {"good": seen.good, "words": seen.words, **seen.figures}
            click.echo(f"  {'ok ' if seen.good else 'BAD'} {name:10} {seen.words}")
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table; broken promises are marked with an exclamation mark."""
    rows = [["server", "version", "listener", *COLUMNS]]
    for found in results:
        cells = [_cell(found["seen"].get(column)) for column in COLUMNS]
        if found["why_not"]:
            cells[0] = f"not here: {found['why_not']}"
        rows.append([found["name"], found["version"], found["listener"], *cells])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return ""
    return seen["words"] if seen["good"] else f"**!** {seen['words']}"


if __name__ == "__main__":
    main()
