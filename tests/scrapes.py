"""Scrape a supervisor as Prometheus does, and read the samples."""

import http.client
import socket
from collections.abc import Mapping
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from drum_supervisor.contract.listener import Address, parse_address
from tests.support import TIMEOUT, Answer, Supervised

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def metrics_address(supervised: Supervised) -> Address:
    path = supervised.run_dir / "metrics-address"
    return parse_address(supervised.until(lambda: path.read_text().strip() if path.exists() else ""))


def connect(supervised: Supervised) -> socket.socket:
    address = metrics_address(supervised)
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    sock.connect(address.path or (address.client_host, address.port))
    return sock


def get(
    supervised: Supervised, path: str = "/metrics", method: str = "GET", headers: Mapping[str, str] | None = None
) -> Answer:
    connection = http.client.HTTPConnection("test", timeout=TIMEOUT)
    connection.sock = connect(supervised)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str, parse: Any = text_string_to_metric_families) -> None:
        self.families = list(parse(text))
        self.series: Series = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return the value of a sample, None if there is none."""
        return self.series.get((name, frozenset(labels.items())))

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.series}

    @property
    def phase(self) -> list[str]:
        return [
            dict(labels)["phase"]
            for (name, labels), value in self.series.items()
            if name == "drum_supervisor_phase" and value == 1
        ]

    def counters(self) -> Series:
        return {key: value for key, value in self.series.items() if key[0].endswith("_total")}


def scrape(supervised: Supervised) -> Scrape:
    answer = get(supervised)
    assert answer.status == 200, answer.body
    return Scrape(answer.body.decode())


def scrape_openmetrics(supervised: Supervised) -> Scrape:
    answer = get(supervised, headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith(OPENMETRICS)
    return Scrape(answer.body.decode(), openmetrics.text_string_to_metric_families)
