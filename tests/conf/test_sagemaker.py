"""conf/sagemaker/create_endpoint.py: its requests match SageMaker's own service description."""

import importlib.util
import json
import sys
from pathlib import Path

import botocore.session
import pytest
from botocore.stub import Stubber

from drum_supervisor.config.settings import choose, resolve

SCRIPT = Path(__file__).parents[2] / "conf" / "sagemaker" / "create_endpoint.py"
NAMED = ("diabetes", "--image", "registry.example/diabetes:7", "--role", "arn:aws:iam::123456789012:role/sagemaker")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("create_endpoint", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["create_endpoint"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sagemaker():
    """A client that validates requests against the service description and sends none."""
    session = botocore.session.get_session()
    session.set_credentials("none", "none")
    return session.create_client("sagemaker", region_name="eu-central-1")


ARN = "arn:aws:sagemaker:eu-central-1:123456789012:x/x"


@pytest.mark.parametrize("model_data", ["", "s3://bucket/model.tar.gz"])
def test_sagemaker_accepts_the_requests(script, sagemaker, model_data):
    endpoint = script.Endpoint(*NAMED[0:1], image=NAMED[2], role=NAMED[4], model_data=model_data)
    with Stubber(sagemaker) as stub:
        stub.add_response("create_model", {"ModelArn": ARN}, script.model_request(endpoint, "diabetes-1"))
        stub.add_response(
            "create_endpoint_config", {"EndpointConfigArn": ARN}, script.config_request(endpoint, "diabetes-1")
        )
        stub.add_response("create_endpoint", {"EndpointArn": ARN}, script.endpoint_request(endpoint, "diabetes-1"))
        script.create(endpoint, "1", sagemaker, wait=False)
        stub.assert_no_pending_responses()


def test_sagemaker_health_check_outlasts_startup_timeout(script):
    endpoint = script.Endpoint("x", "y", "z", startup_timeout=900)
    (variant,) = script.config_request(endpoint, "x-1")["ProductionVariants"]
    environ = script.model_request(endpoint, "x-1")["PrimaryContainer"]["Environment"]
    ours = resolve(choose({"profile": "sagemaker"}, environ))
    assert ours.startup_timeout == 900
    assert ours.failed_ping == 503
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 960


def test_dry_run_prints_requests_and_sends_none(script, capsys):
    assert script.main([*NAMED, "--env", "TARGET_TYPE=binary", "--version", "7", "--wait", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    calls = [line.split(" {")[0] for line in printed.splitlines() if line.endswith(" {") and line[0] != " "]
    assert calls == ["create_model", "create_endpoint_config", "create_endpoint", "wait until it is in service"]
    first = json.loads(printed[printed.index("{") : printed.index("\n}") + 2])
    assert first["PrimaryContainer"]["Environment"]["TARGET_TYPE"] == "binary"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--env", "x"], "'x' is not NAME=VALUE"),
        (["--startup-timeout", "3600"], "'3600' is not a number of seconds from 1 to 3540"),
        (["--failed-ping", "404"], "invalid choice"),
    ],
)
def test_bad_arguments_are_refused(script, capsys, arguments, complaint):
    with pytest.raises(SystemExit):
        script.main([*NAMED, *arguments, "--dry-run"])
    assert complaint in capsys.readouterr().err
