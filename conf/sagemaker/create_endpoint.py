"""Create a SageMaker endpoint from the image, or print what would be asked of SageMaker: `--dry-run`.

    python conf/sagemaker/create_endpoint.py diabetes --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/drum-supervisor:1 \
        --role arn:aws:iam::ACCOUNT:role/sagemaker --model-data s3://bucket/model.tar.gz --dry-run

Needs boto3 and credentials, but for a dry run. docs/sagemaker.md says what to choose.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MARGIN = 60  # SageMaker waits so many seconds longer than we do: the reason is then told before it gives up
LONGEST_WINDOW = 3600  # what SageMaker accepts

Request = dict[str, Any]


class SageMaker(Protocol):
    """The part of boto3's client that is used."""

    def create_model(self, **request: Any) -> Any: ...
    def create_endpoint_config(self, **request: Any) -> Any: ...
    def create_endpoint(self, **request: Any) -> Any: ...
    def get_waiter(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Endpoint:
    """What a user decides about an endpoint.

    Attributes:
        model_data: an archive (tar.gz) on S3, unpacked to /opt/ml/model; empty: the model is in the image.
        startup_timeout: seconds that the model may take to load.
        failed_ping: what a failed model answers to SageMaker's health check: 503, or 200.
        environment: further variables of the container.
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
    """Return the request for the model: the image, where its files are, and the variables of our settings."""
    ours = {
        "DRUM_SUPERVISOR_STARTUP_TIMEOUT": str(endpoint.startup_timeout),
        "DRUM_SUPERVISOR_FAILED_PING": str(endpoint.failed_ping),
    }
    container: Request = {"Image": endpoint.image, "Environment": {**ours, **endpoint.environment}}
    if endpoint.model_data:
        container["ModelDataUrl"] = endpoint.model_data
    return {"ModelName": name, "ExecutionRoleArn": endpoint.role, "PrimaryContainer": container}


def config_request(endpoint: Endpoint, name: str) -> Request:
    """Return the request for the configuration: the machines, and how long SageMaker waits for the first good ping."""
    variant = {
        "VariantName": "main",
        "ModelName": name,
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_timeout + MARGIN,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def endpoint_request(endpoint: Endpoint, name: str) -> Request:
    """Return the request for the endpoint itself."""
    return {"EndpointName": endpoint.name, "EndpointConfigName": name}


def create(endpoint: Endpoint, version: str, sagemaker: SageMaker, wait: bool) -> None:
    """Create model, configuration and endpoint; with `wait`, come back when it is in service, or raise."""
    name = f"{endpoint.name}-{version}"
    sagemaker.create_model(**model_request(endpoint, name))
    sagemaker.create_endpoint_config(**config_request(endpoint, name))
    sagemaker.create_endpoint(**endpoint_request(endpoint, name))
    if wait:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=endpoint.name)


class Printed:
    """Stands in for SageMaker in a dry run: prints each request as JSON."""

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
    """Read the command line and create the endpoint."""
    given = _parser().parse_args(arguments)
    decided = {name: value for name, value in vars(given).items() if name not in ("dry_run", "wait", "version")}
    endpoint = Endpoint(**{**decided, "environment": dict(given.environment)})
    create(endpoint, given.version, Printed() if given.dry_run else _client(), given.wait)
    return 0


def _client() -> SageMaker:
    import boto3  # noqa: PLC0415 - a dry run needs none

    client: SageMaker = boto3.client("sagemaker")
    return client


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Create a SageMaker endpoint from the image of drum_supervisor.")
    parser.add_argument("name", help="of the endpoint")
    parser.add_argument("--image", required=True, help="in a registry that SageMaker reaches")
    parser.add_argument("--role", required=True, help="ARN of the role that SageMaker takes")
    parser.add_argument("--model-data", default="", help="s3://... of a tar.gz; without it the model is in the image")
    parser.add_argument("--instance-type", default=Endpoint.instance_type)
    parser.add_argument("--instances", type=int, default=Endpoint.instances)
    parser.add_argument("--startup-timeout", type=_seconds, default=Endpoint.startup_timeout, help="to load the model")
    parser.add_argument("--failed-ping", type=int, choices=(200, 503), default=Endpoint.failed_ping)
    parser.add_argument("--env", dest="environment", type=_variable, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--version", default=time.strftime("%Y%m%d-%H%M%S"), help="ends the names of model and config")
    parser.add_argument("--wait", action="store_true", help="until the endpoint is in service, or has failed")
    parser.add_argument("--dry-run", action="store_true", help="print the requests, and send none")
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
