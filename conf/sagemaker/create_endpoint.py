"""Create a SageMaker endpoint from the image, or print the requests with `--dry-run`.

    python conf/sagemaker/create_endpoint.py diabetes --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/drum-supervisor:1 \
        --role arn:aws:iam::ACCOUNT:role/sagemaker --model-data s3://bucket/model.tar.gz --dry-run

Needs boto3 and credentials, except for a dry run. docs/sagemaker.md explains the choices.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MARGIN = (
    60  # seconds that SageMaker waits longer than the supervisor, so that the reason is in the log before it gives up
)
LONGEST_WINDOW = 3600  # SageMaker's maximum

Request = dict[str, Any]


class SageMaker(Protocol):
    """The methods of boto3's client used here."""

    def create_model(self, **request: Any) -> Any: ...
    def create_endpoint_config(self, **request: Any) -> Any: ...
    def create_endpoint(self, **request: Any) -> Any: ...
    def get_waiter(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Endpoint:
    """A user's choices for an endpoint.

    Attributes:
        model_data: an archive (tar.gz) on S3, unpacked to /opt/ml/model; empty if the model is in the image.
        startup_timeout: seconds that the model may take to load.
        failed_ping: the status of a failed model in SageMaker's health check, 503 or 200.
        environment: additional variables of the container.
    """

    name: str
    image: str
    role: str
    model_data: str = ""
    instance_type: str = "ml.m5.large"
    instances: int = 1
    startup_timeout: int = 600
    failed_ping: int = 503
    environment: dict[str, str] = field(default_factory=dict)


def model_request(endpoint: Endpoint, name: str) -> Request:
    ours = {
        "DRUM_SUPERVISOR_STARTUP_TIMEOUT": str(endpoint.startup_timeout),
        "DRUM_SUPERVISOR_FAILED_PING": str(endpoint.failed_ping),
    }
    container: Request = {"Image": endpoint.image, "Environment": {**ours, **endpoint.environment}}
    if endpoint.model_data:
        container["ModelDataUrl"] = endpoint.model_data
    return {"ModelName": name, "ExecutionRoleArn": endpoint.role, "PrimaryContainer": container}


def config_request(endpoint: Endpoint, name: str) -> Request:
    variant = {
        "VariantName": "main",
        "ModelName": name,
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_timeout + MARGIN,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def endpoint_request(endpoint: Endpoint, name: str) -> Request:
    return {"EndpointName": endpoint.name, "EndpointConfigName": name}


def create(endpoint: Endpoint, version: str, sagemaker: SageMaker, wait: bool) -> None:
    """Create model, configuration and endpoint; with `wait`, return once it is in service or raise."""
    name = f"{endpoint.name}-{version}"
    sagemaker.create_model(**model_request(endpoint, name))
    sagemaker.create_endpoint_config(**config_request(endpoint, name))
    sagemaker.create_endpoint(**endpoint_request(endpoint, name))
    if wait:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=endpoint.name)


class Printed:
    """Replaces the client in a dry run: prints each request as JSON."""

    def create_model(self, **request: Any) -> None:
        self._print("create_model", request)

    def create_endpoint_config(self, **request: Any) -> None:
        self._print("create_endpoint_config", request)

    def create_endpoint(self, **request: Any) -> None:
        self._print("create_endpoint", request)

    def get_waiter(self, name: str) -> "Printed":
        return self

    def wait(self, **request: Any) -> None:
        self._print("wait until it is in service", request)

    def _print(self, call: str, request: Request) -> None:
        print(f"{call} {json.dumps(request, indent=2)}")


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    decided = {name: value for name, value in vars(given).items() if name not in ("dry_run", "wait", "version")}
    endpoint = Endpoint(**{**decided, "environment": dict(given.environment)})
    create(endpoint, given.version, Printed() if given.dry_run else _client(), given.wait)
    return 0


def _client() -> SageMaker:
    import boto3  # noqa: PLC0415 - a dry run does not need it

    client: SageMaker = boto3.client("sagemaker")
    return client


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Create a SageMaker endpoint from the image of drum_supervisor.")
    parser.add_argument("name", help="name of the endpoint")
    parser.add_argument("--image", required=True, help="image in a registry that SageMaker can access")
    parser.add_argument("--role", required=True, help="ARN of SageMaker's execution role")
    parser.add_argument("--model-data", default="", help="s3://... of a tar.gz; omit if the model is in the image")
    parser.add_argument("--instance-type", default=Endpoint.instance_type)
    parser.add_argument("--instances", type=int, default=Endpoint.instances)
    parser.add_argument(
        "--startup-timeout", type=_seconds, default=Endpoint.startup_timeout, help="seconds for loading the model"
    )
    parser.add_argument("--failed-ping", type=int, choices=(200, 503), default=Endpoint.failed_ping)
    parser.add_argument("--env", dest="environment", type=_variable, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--version", default=time.strftime("%Y%m%d-%H%M%S"), help="suffix for the names of model and config"
    )
    parser.add_argument("--wait", action="store_true", help="wait until the endpoint is in service or has failed")
    parser.add_argument("--dry-run", action="store_true", help="print the requests without sending them")
    return parser


def _seconds(text: str) -> int:
    longest = LONGEST_WINDOW - MARGIN
    if not text.isdecimal() or not 1 <= int(text) <= longest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to {longest}")
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
