"""A real Prometheus scrapes a supervisor, loads the alerts, and runs the dashboard's queries."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scrapes import metrics_address
from tests.stories.conftest import Start
from tests.support import TIMEOUT, Supervised, until

CONF = Path(__file__).parents[2] / "conf"
GOOD = "def score_unstructured(model, data, **kwargs): return 'fine'\ndef load_model(d): return 1\n"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{alerts}]
scrape_configs:
  - job_name: drum-supervisor
    static_configs: [{{targets: ["{target}"]}}]
"""
# Without a failure, a memory limit or a GPU these have no samples.
MAY_BE_EMPTY = re.compile(r"gpu|next_retry|container_")

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed (Debian: prometheus)"
)


class Prometheus:
    def __init__(self, folder: Path, supervised: Supervised) -> None:
        (folder / "prometheus.yml").write_text(
            CONFIG.format(alerts=CONF / "prometheus" / "alerts.yml", target=metrics_address(supervised))
        )
        self._log = folder / "prometheus.log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdout=log,
                stderr=log,
            )
        self._address = self.until(lambda: re.search(r"Listening on.* address=(\S+)", self._log.read_text()))[1]
        self.until(self._is_ready)

    def _is_ready(self) -> bool:
        # it listens before it is ready
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=TIMEOUT):
                return True
        except urllib.error.HTTPError:
            return False

    def until(self, probe: Callable[[], Any]) -> Any:
        return until(probe, self.process, self._log.read_text)

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}?{query}", timeout=TIMEOUT) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        return list(self.get("query", query=expression)["result"])

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT)


@pytest.fixture
def supervised(start: Start, model: Callable[[str], Path]) -> Supervised:
    found = start("--code-dir", model(GOOD), "--target-type", "unstructured", "--metrics-address", "127.0.0.1:0")
    found.until_phase("serving")
    return found


@pytest.fixture
def prometheus(tmp_path: Path, supervised: Supervised) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, supervised)
    yield server
    server.end()


def test_dashboard_and_alert_queries_find_their_metrics(prometheus: Prometheus) -> None:
    prometheus.until(lambda: prometheus.query("count_over_time(drum_supervisor_ready[1m]) > 2"))
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.query('drum_supervisor_phase{phase="serving"}')[0]["value"][1] == "1"
    empty = [expression for expression in expressions() if not prometheus.query(expression)]
    assert [expression for expression in empty if not MAY_BE_EMPTY.search(expression)] == []
    (group,) = prometheus.until(lambda: evaluated(prometheus.get("rules")["groups"]))
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert {rule["state"] for rule in group["rules"]} == {"inactive"}


def test_failure_raises_an_alert(prometheus: Prometheus, supervised: Supervised) -> None:
    prometheus.until(lambda: prometheus.query("drum_supervisor_ready == 1"))
    (supervised.run_dir.parents[1] / "model" / "custom.py").write_text("raise ValueError('gone')")
    supervised.client.restart()
    prometheus.until(lambda: prometheus.query('drum_supervisor_failures_total{cause="init_failed"} == 1'))
    prometheus.until(lambda: prometheus.get("alerts")["alerts"])  # pending, for two minutes
    (alert,) = prometheus.get("alerts")["alerts"]
    assert (alert["labels"]["alertname"], alert["state"]) == ("DrumModelRetriesExhausted", "pending")


def evaluated(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups if every rule has been evaluated."""
    rules = [rule for group in groups for rule in group["rules"]]
    return groups if rules and all(rule["health"] != "unknown" for rule in rules) else []


def expressions() -> list[str]:
    """Return the dashboard's queries, for all instances over the last minute."""
    panels = json.loads((CONF / "grafana" / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    for name, value in (("$__rate_interval", "1m"), ("$job", ".*"), ("$instance", ".*")):
        queries = [expression.replace(name, value) for expression in queries]
    return queries
