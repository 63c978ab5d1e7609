"""A sidecar that serves the supervisor's status in Prometheus' text format. Standard library only.

Run `python metrics_sidecar.py HOST:PORT` as a [program:...] of the supervisor (conf/supervisord.conf), which sets
$SUPERVISOR_SERVER_URL to its control socket.
"""

import http.client
import json
import os
import socket
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

PHASES = ("starting", "serving", "failed", "retrying", "stopping")


class ControlSocket(xmlrpc.client.Transport):
    """XML-RPC over the supervisor's Unix socket."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(os.environ["SUPERVISOR_SERVER_URL"].removeprefix("unix://"))
        return connection


def status() -> dict[str, Any]:
    """Return what `drum-supervise status --json` prints."""
    with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=ControlSocket()) as supervisor:
        return dict(json.loads(str(supervisor.drum.status())))


def exposition(status: Mapping[str, Any]) -> Iterator[str]:
    yield f"drum_supervisor_workers_ready {status['workers_ready']}"
    yield from (f'drum_supervisor_phase{{phase="{name}"}} {int(status["phase"] == name)}' for name in PHASES)
    yield from (
        f'drum_supervisor_restarts_total{{cause="{cause}"}} {number}' for cause, number in status["restarts"].items()
    )
    for program in status["programs"]:
        if program["memory_bytes"] is not None:
            yield f'drum_supervisor_program_memory_bytes{{program="{program["name"]}"}} {program["memory_bytes"]}'


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = "".join(f"{line}\n" for line in exposition(status())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    server = HTTPServer((host, int(port)), Metrics)
    print(f"metrics on http://{host}:{server.server_port}/metrics", flush=True)
    server.serve_forever()
