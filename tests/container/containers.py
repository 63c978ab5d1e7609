"""A container under test, used as a platform uses it."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.container.engine import Engine
from tests.support import TIMEOUT, Answer, answer, until

# As in a restricted pod: only /tmp is writable, the uid has no user, and it has no capabilities and cannot gain any.
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
        """Run a command in it, as `kubectl exec` does; return exit code and stdout."""
        done = self.engine.call("exec", self.name, *command, check=False)
        return done.returncode, done.stdout

    def until_phase(self, phase: str) -> dict[str, Any]:
        """Wait for a phase; return the status."""
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
        """Wait until it exits; return its exit code."""
        until(lambda: not self.state["Running"], tail=self.output)
        return int(self.state["ExitCode"])
