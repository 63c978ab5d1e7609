"""conf/prometheus and conf/grafana: the metrics and labels exist, and promtool accepts the files."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drum_supervisor.metrics.catalogue import METRICS
from tests.conf.manifests import CONF

ALERTS = CONF / "prometheus" / "alerts.yml"
TESTS = Path(__file__).parent / "alerts_test.yml"
COLUMNS = 24

NAME = re.compile(r"\b(?:drum_supervisor|process|container)_[a-z_]+\b")
SELECTED = re.compile(r"([a-z_]+){([^}]*)}")
GROUPED = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")
CHOSEN = '{job=~"$job", instance=~"$instance"}'
TARGET_LABELS = {"job", "instance"}
LABELS = {metric.name: set(metric.labels) | TARGET_LABELS for metric in METRICS if metric.name}
ALL_LABELS = set().union(*LABELS.values())


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def dashboard() -> dict[str, Any]:
    return dict(json.loads((CONF / "grafana" / "dashboard.json").read_text(encoding="utf-8")))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str, str]]:
    """Yield the place of every query to Prometheus, the query, and the texts that show its result."""
    for rule in rules():
        yield rule["alert"], rule["expr"], " ".join(rule["annotations"].values())
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in dashboard()["templating"]["list"]:
        yield variable["name"], variable.get("definition", ""), ""


each_expression = pytest.mark.parametrize(
    ("expression", "words"), [(e, w) for _, e, w in expressions()], ids=[where for where, _, _ in expressions()]
)


class TestNames:
    @each_expression
    def test_metrics_exist(self, expression, words):
        assert set(NAME.findall(expression)) <= LABELS.keys()

    @each_expression
    def test_labels_exist(self, expression, words):
        for name, matchers in SELECTED.findall(expression):
            assert set(re.findall(r"(\w+)=", matchers)) <= LABELS[name]
        for names in GROUPED.findall(expression):
            assert set(re.findall(r"\w+", names)) <= ALL_LABELS

    @each_expression
    def test_labels_in_texts_belong_to_the_metric(self, expression, words):
        used = set(re.findall(r"{{ ?(?:\$labels\.)?(\w+) ?}}", words))
        assert used <= set().union(*(LABELS[name] for name in NAME.findall(expression)), TARGET_LABELS)

    def test_expressions_are_found(self):
        assert len(list(expressions())) > 30


class TestAlerts:
    @pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
    def test_each_has_severity_and_runbook(self, rule):
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert "$labels.instance" in rule["annotations"]["summary"]
        page = (CONF.parent / "docs" / "operations.md").read_text(encoding="utf-8")
        commands = set(re.findall(r"drum-supervise (\w+)", rule["annotations"]["runbook"]))
        assert commands <= set(re.findall(r"^\| `(\w+)", page, re.MULTILINE))

    def test_each_fires_in_a_test(self):
        tested = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
        assert {case["alertname"] for case in tested if case["exp_alerts"]} == {rule["alert"] for rule in rules()}

    @pytest.mark.parametrize(
        "arguments",
        [
            ("check", "rules", str(ALERTS)),
            ("check", "config", str(CONF / "prometheus" / "prometheus.yml")),
            ("test", "rules", str(TESTS)),
        ],
        ids=["rules", "configuration", "alerts"],
    )
    def test_promtool_accepts(self, arguments):
        if not shutil.which("promtool"):
            pytest.skip("promtool is not installed (Debian: prometheus)")
        ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


class TestDashboard:
    def test_panels_have_unique_ids_and_do_not_overlap(self):
        found = dashboard()["panels"]
        assert len({panel["id"] for panel in found}) == len(found)
        taken = [place for panel in found for place in places(panel["gridPos"])]
        assert len(set(taken)) == len(taken)
        assert all(0 <= column < COLUMNS for column, _ in taken)

    def test_queries_use_the_chosen_source_and_instances(self):
        for panel in panels():
            assert panel["datasource"]["uid"] == "${datasource}"
            for target in panel["targets"]:
                named, chosen = NAME.findall(target["expr"]), target["expr"].count(CHOSEN)
                assert chosen == len(named), target["expr"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])

    def test_used_variables_are_declared(self):
        declared = {variable["name"] for variable in dashboard()["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard()))) - {"__rate_interval", "__all"}
        assert used == declared

    def test_every_service_metric_is_shown(self):
        shown = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
        hidden = {metric.name for metric in METRICS if metric.name.startswith("drum_supervisor_")} - shown
        assert hidden == {
            "drum_supervisor_build_info",
            "drum_supervisor_server_info",
            "drum_supervisor_phase_start_time_seconds",
            "drum_supervisor_ready",
            "drum_supervisor_degraded",
            "drum_supervisor_program_running",
            "drum_supervisor_program_ready",
            "drum_supervisor_attempt",
            "drum_supervisor_gpu_memory_used_bytes",
        }


def places(grid: dict[str, int]) -> Iterator[tuple[int, int]]:
    for column in range(grid["x"], grid["x"] + grid["w"]):
        for line in range(grid["y"], grid["y"] + grid["h"]):
            yield column, line
