"""The manifests of conf/, and the pods in them that run our image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).parents[2] / "conf"
KUBERNETES, KSERVE = CONF / "kubernetes", CONF / "kserve"

Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    with open(path, encoding="utf-8") as file:
        (manifest,) = yaml.safe_load_all(file)
    return manifest


def base() -> dict[str, Manifest]:
    """Return the resources of the kustomize base by kind."""
    names = read(KUBERNETES / "kustomization.yaml")["resources"]
    return {manifest["kind"]: manifest for manifest in (read(KUBERNETES / name) for name in names)}


def monitor() -> Manifest:
    """Return the ServiceMonitor, which is a separate component: not every cluster has this kind."""
    (name,) = read(KUBERNETES / "monitoring" / "kustomization.yaml")["resources"]
    return read(KUBERNETES / "monitoring" / name)


def pods() -> Iterator[tuple[str, Manifest]]:
    """Yield each pod specification that runs our image, with its name."""
    yield "deployment", base()["Deployment"]["spec"]["template"]["spec"]
    predictor = read(KSERVE / "inference-service.yaml")["spec"]["predictor"]
    yield "inference service", {name: value for name, value in predictor.items() if name not in _OF_KSERVE}


_OF_KSERVE = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
