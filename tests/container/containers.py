"""A container under test: what a platform does with it, and what it sees of it."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.container.engine import Engine
from tests.support import TIMEOUT, Answer, answer, until

# As a restricted pod has it: nothing to write to but /tmp, a uid that nobody knows, no capabilities, none to be had.
RESTRICTED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--user=123456:0",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str
    port: int = 8080

    def output(self) -> str:
        """Return what it wrote to stdout and stderr."""
        done = self.engine.call("logs", self.name)
        return done.stdout + done.stderr

    @property
    def state(self) -> dict[str, Any]:
        return self.engine.inspect(self.name)["State"]

    @property
    def host(self) -> str:
        networks = self.engine.inspect(self.name)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def connection(self, timeout: float = TIMEOUT) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        return answer(self.connection(timeout), method, path, body, headers)

    def get(self, path: str, timeout: float = TIMEOUT) -> Answer:
        return self.request("GET", path, timeout=timeout)

    def post(self, path: str, body: bytes, content_type: str = "text/plain") -> Answer:
        return self.request("POST", path, body, {"Content-Type": content_type})

    def execute(self, *command: str) -> tuple[int, str]:
        """Run a command in it, as `kubectl exec` does; return its exit code and output."""
        done = self.engine.call("exec", self.name, *command, check=False)
        return done.returncode, done.stdout

    def until_phase(self, phase: str) -> dict[str, Any]:
        """Return the status, as soon as it has that phase."""
        last: list[dict[str, Any]] = []

        def reached() -> bool:
            assert self.state["Running"], self.output()
            _, printed = self.execute("drum-supervise", "status", "--json")
            last[:] = [json.loads(printed)] if printed else []
            return bool(last) and last[0]["phase"] == phase

        until(reached, tail=lambda: f"{last}\n{self.output()}")
        return last[0]

    def signal(self, name: str) -> None:
        self.engine.call("kill", f"--signal={name}", self.name)

    def wait(self) -> int:
        """Return its exit code, when it has ended by itself."""
        until(lambda: not self.state["Running"], tail=self.output)
        return int(self.state["ExitCode"])
