"""`python -m parity.run`: compare DRUM and our model server with the same folders and requests.

Prints each difference with its declared reason (`parity/declared.py`). The exit code is 1 if one is undeclared, or
if a declared one no longer occurs.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parity.comparing import Answer, Difference, ask, differences
from parity.declared import DECLARED, Declared
from parity.environment import add_option, checked, versions
from parity.models import MODELS, Model
from parity.requests import GROUPS, Request
from parity.servers import DRUM, OURS, NotStartedError, Running, running

PACKAGES = ("datarobot-drum", "gunicorn", "flask", "fastapi", "uvicorn", "pandas", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Found:
    """A difference, where it was found, and the declaration that covers it."""

    server: str
    model: str
    request: str
    difference: Difference
    declared: Declared | None


@dataclass
class Counts:
    """What was compared."""

    models: int = 0
    requests: int = 0
    comparisons: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--server", action="append", choices=OURS, help="only this server of ours; may be repeated")
    parser.add_argument("--only", action="append", metavar="MODEL", help="only this model folder; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was found")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all child processes are stopped
    drum = checked(parser, options.drum)
    names = {DRUM: versions(drum / "bin" / "python", *PACKAGES), "ours": versions(Path(sys.executable), *PACKAGES)}
    for side, packages in names.items():
        print(f"{side + ':':6}", ", ".join(f"{name} {version}" for name, version in packages.items()), flush=True)
    servers, counts, found = tuple(options.server or OURS), Counts(), list[Found]()
    for model in [each for each in MODELS if not options.only or each.name in options.only]:
        try:
            here = list(compared(model, servers, drum, counts))
        except NotStartedError as error:
            print(f"{model.name}: {error}")
            return 1
        undeclared = sum(each.declared is None for each in here)
        print(f"{model.name:20} {len(here):4} differences, {undeclared} of them not declared", flush=True)
        found += here
    is_whole = not options.only and not options.server
    stale = [each for each in DECLARED if is_whole and not any(each is one.declared for one in found)]
    print(f"\n{counts.models} model folders, {counts.requests} requests, {counts.comparisons} comparisons.\n")
    print(declared_table(found))
    print_failures(found, stale, servers)
    if options.json:
        content = {"versions": names, **asdict(counts), "found": [_as_json(each) for each in found]}
        options.json.write_text(json.dumps(content, indent=1))
    return int(bool(stale) or any(each.declared is None for each in found))


def compared(model: Model, servers: tuple[str, ...], drum: Path, counts: Counts) -> Iterator[Found]:
    """Serve `model` with all servers at the same time, send all requests to each, and yield the differences."""
    requests = [request for group in model.groups for request in GROUPS[group]]
    with ExitStack() as stack:
        theirs, *ours = start_all(stack, model, (DRUM, *servers), drum)
        counts.models += 1
        counts.requests += len(requests)
        for request in requests:
            answer = ask(theirs.port, request)
            for server in ours:
                counts.comparisons += 1
                yield from _found(server.name, model, request, answer, ask(server.port, request))


def start_all(stack: ExitStack, model: Model, names: tuple[str, ...], drum: Path) -> list[Running]:
    """Start the servers at the same time; `stack` stops them."""

    def start(name: str) -> tuple[ExitStack, Running]:
        with ExitStack() as own:
            folder = Path(own.enter_context(tempfile.TemporaryDirectory()))
            server = own.enter_context(running(name, model, drum, folder))
            return own.pop_all(), server

    with ThreadPoolExecutor(len(names)) as pool:
        starting = [pool.submit(start, name) for name in names]
    started = [each.result() for each in starting if each.exception() is None]
    for own, _ in started:
        stack.enter_context(own)
    for name, each in zip(names, starting, strict=True):
        if (error := each.exception()) is not None:
            raise NotStartedError(f"{name} does not start, {error}") from error
    return [server for _, server in started]


def _found(server: str, model: Model, request: Request, drum: Answer, ours: Answer) -> Iterator[Found]:
    for difference in differences(request, drum, ours):
        where = server, model.name, request.name
        declared = next((each for each in DECLARED if each.covers(*where, difference)), None)
        yield Found(*where, difference, declared)


def declared_table(found: list[Found]) -> str:
    """Return a row for each declaration: number of occurrences, an example, and the reason."""
    lines = []
    for declared in DECLARED:
        here = [each for each in found if each.declared is declared]
        if here:
            first = here[0]
            lines.append(f"{len(here):5}x {declared.kind}: DRUM {declared.drum}, ours {declared.ours}")
            lines.append(f"       e.g. {first.model}, {first.request}: {_both(first.difference)}")
            lines.append(f"       {declared.why}")
    return "\n".join(lines)


def print_failures(found: list[Found], stale: list[Declared], servers: tuple[str, ...]) -> None:
    """Print undeclared differences, once for all servers that agree, and declared ones that did not occur."""
    at: dict[tuple[str, str, Difference], list[str]] = {}
    for each in found:
        if each.declared is None:
            at.setdefault((each.model, each.request, each.difference), []).append(each.server)
    for (model, request, difference), names in at.items():
        who = "" if tuple(names) == servers else f" ({', '.join(names)})"
        print(f"NOT DECLARED  {model}, {request}{who}: {_both(difference)}")
    for declared in stale:
        print(f"DECLARED, BUT NOT MET  {declared.kind}: DRUM {declared.drum}, ours {declared.ours}: {declared.why}")
    kinds = Counter(difference.kind for _, _, difference in at)
    if at or stale:
        print(f"\n{len(at)} not declared {dict(kinds)}, {len(stale)} not met")
    else:
        print("\nEvery difference is declared, and every declared one was met.")


def _both(difference: Difference) -> str:
    return f"{difference.kind}: DRUM {difference.drum} | ours {difference.ours}"


def _as_json(found: Found) -> dict[str, Any]:
    record = {"server": found.server, "model": found.model, "request": found.request, **asdict(found.difference)}
    return {**record, "why": found.declared.why if found.declared else None}


if __name__ == "__main__":
    sys.exit(main())
