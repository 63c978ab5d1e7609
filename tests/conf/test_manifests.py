"""conf/kubernetes and conf/kserve: schemas, pod security, and numbers that must fit our settings."""

import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest

from drum_supervisor.config.settings import Settings, choose, resolve
from tests.conf.manifests import KSERVE, KUBERNETES, Manifest, base, monitor, pods, read

VERSIONS = ("1.30", "1.37")  # the first with a sleep in preStop, and the newest
PODS = dict(pods())

each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def ours(pod: Manifest) -> Manifest:
    (container,) = pod["containers"]
    return container


def settings_of(pod: Manifest) -> Settings:
    """Return the settings that the container's environment gives."""
    return resolve(choose({}, {each["name"]: each["value"] for each in ours(pod)["env"]}))


class TestSchemas:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("kind", base())
    def test_kubernetes_accepts_each_resource(self, kind, version):
        kubernetes_validate.validate(base()[kind], version, strict=True)

    @pytest.mark.parametrize("version", VERSIONS)
    @each_pod
    def test_kubernetes_accepts_each_pod(self, pod, version):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
        kubernetes_validate.validate(whole, version, strict=True)

    def test_unknown_field_is_rejected(self):
        wrong = base()["Deployment"]
        wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["failureTreshold"] = 3
        with pytest.raises(kubernetes_validate.ValidationError, match="failureTreshold"):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)

    def test_kserve_accepts_the_inference_service(self):
        service = read(KSERVE / "inference-service.yaml")
        assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        assert problems(service, "V1beta1InferenceService") == []
        service["spec"]["predictor"]["minReplica"] = 1
        service["spec"]["predictor"]["timeout"] = "long"
        assert len(problems(service, "V1beta1InferenceService")) == 2

    def test_every_manifest_is_checked(self):
        listed = set(read(KUBERNETES / "kustomization.yaml")["resources"]) | {"kustomization.yaml"}
        assert {path.name for path in KUBERNETES.iterdir()} == listed | {"monitoring"}

    def test_prometheus_operator_accepts_the_service_monitor(self):
        from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor  # takes seconds

        def understood(manifest: Manifest) -> Any:
            return ServiceMonitor.model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_none=True)

        assert understood(monitor()) == monitor()
        wrong = monitor()
        wrong["spec"]["endpoints"][0]["intervall"] = "15s"
        assert understood(wrong) == monitor()


class TestPodSecurity:
    """The restricted profile and more: https://kubernetes.io/docs/concepts/security/pod-security-standards/."""

    @each_pod
    def test_meets_the_restricted_profile(self, pod):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        context = ours(pod)["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(volume.keys() <= {"name", "emptyDir"} for volume in pod["volumes"])

    @each_pod
    def test_only_tmp_is_writable(self, pod):
        assert ours(pod)["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in ours(pod)["volumeMounts"]] == ["/tmp"]

    @each_pod
    def test_service_account_token_is_not_mounted(self, pod):
        assert pod["automountServiceAccountToken"] is False


class TestFits:
    @each_pod
    def test_environment_is_valid_settings(self, pod):
        settings = settings_of(pod)
        assert (settings.profile, settings.code_dir) == ("kubernetes", "/opt/ml/model")
        names = {each["name"] for each in ours(pod)["env"]}
        assert len(names) == len(ours(pod)["env"])

    @each_pod
    def test_each_probe_requests_its_own_path(self, pod):
        paths = {name: ours(pod)[name]["httpGet"]["path"] for name in ours(pod) if name.endswith("Probe")}
        assert paths == {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}

    @each_pod
    def test_startup_probe_outlasts_startup_timeout(self, pod):
        probe = ours(pod)["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > settings_of(pod).startup_timeout

    @each_pod
    def test_grace_period_outlasts_the_drain(self, pod):
        # else the kubelet kills the container before it has answered all requests
        sleeps = ours(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert sleeps + settings_of(pod).stop_timeout < pod["terminationGracePeriodSeconds"]

    @each_pod
    def test_error_server_ttl_outlasts_all_retries(self, pod):
        settings = settings_of(pod)
        retries = sum(settings.retry_interval * 2**n for n in range(settings.max_retries))
        assert settings.error_server_ttl > retries

    @each_pod
    def test_container_ports_match_the_settings(self, pod):
        ports = {port["name"]: port["containerPort"] for port in ours(pod)["ports"]}
        settings = settings_of(pod)
        offered = ports.pop("metrics", None)
        assert offered == (settings.metrics_address.port if settings.metrics_address else None)
        assert list(ports.values()) == [settings.address.port]

    @each_pod
    def test_memory_limit_and_cpu_request_are_set(self, pod):
        resources = ours(pod)["resources"]
        assert resources["limits"]["memory"]
        assert resources["requests"]["cpu"]  # the autoscaler's target is a percentage of it

    def test_all_selectors_match_the_same_pods(self):
        found = base()
        labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
        assert found["Service"]["spec"]["selector"] == labels
        assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
        target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])

    def test_service_monitor_scrapes_the_metrics_port(self):
        (endpoint,) = monitor()["spec"]["endpoints"]
        service = base()["Service"]
        (port,) = (port for port in service["spec"]["ports"] if port["name"] == endpoint["port"])
        assert port["targetPort"] in {each["name"] for each in ours(PODS["deployment"])["ports"]}
        assert endpoint["path"] == "/metrics"
        assert monitor()["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]

    def test_progress_deadline_outlasts_startup_probe(self):
        probe = ours(PODS["deployment"])["startupProbe"]
        budget = probe["periodSeconds"] * probe["failureThreshold"]
        assert base()["Deployment"]["spec"]["progressDeadlineSeconds"] > budget


# --- KServe publishes its resources as classes that name their fields and types. The tests above check the parts that
# are Kubernetes' own.

_PLAIN: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float}


def problems(value: Any, kind: str, where: str = "") -> list[str]:
    """Return how `value` differs from KServe's `kind`."""
    if kind in _PLAIN:
        return [] if type(value) is _PLAIN[kind] else [f"{where}: {value!r} is not {kind}"]
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return [each for number, item in enumerate(value) for each in problems(item, inner[1], f"{where}[{number}]")]
    model = _model(kind)
    if model is None:
        return []
    attributes = {written: name for name, written in model.attribute_map.items()}
    found = [f"{where}.{name}: no such field" for name in value if name not in attributes]
    for name in value.keys() & attributes.keys():
        found += problems(value[name], model.openapi_types[attributes[name]], f"{where}.{name}")
    return found


def _model(kind: str) -> Any:
    """Return KServe's class of that name, None for the classes of Kubernetes."""
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    _bypass_package_code()
    if find_spec(f"kserve.models.{module}") is None:
        return None
    return getattr(importlib.import_module(f"kserve.models.{module}"), kind)


def _bypass_package_code() -> None:
    """Replace the packages of `kserve` by empty ones: its own import a whole server, which is not installed."""
    if "kserve" in sys.modules:
        return
    spec = find_spec("kserve")
    assert spec is not None
    assert spec.origin is not None
    for name, folder in (("kserve", Path(spec.origin).parent), ("kserve.models", Path(spec.origin).parent / "models")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
