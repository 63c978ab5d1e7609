"""The responses of the exporter, without HTTP."""

import gzip

import pytest

from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.http.messages import Request
from drum_supervisor.services.metrics import MetricsService, accepts_gzip


def ask(path="/metrics", method="GET", scrape=lambda accept: (f"for {accept}".encode(), "text/plain"), **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return MetricsService(scrape).answer(Request(method, path, headers=given))


def header(response, name):
    return dict(response.headers).get(name)


def test_metrics_in_the_requested_format():
    response = ask(accept="x/y")
    assert (response.status, response.body, response.content_type) == (200, b"for x/y", "text/plain")
    assert header(response, "Cache-Control") == "no-store"
    assert header(response, "Vary") == "Accept, Accept-Encoding"


def test_gzip_if_accepted():
    response = ask(accept="x", accept_encoding="deflate, gzip;q=0.5")
    assert header(response, "Content-Encoding") == "gzip"
    assert gzip.decompress(response.body) == b"for x"
    assert response.body == ask(accept="x", accept_encoding="gzip").body  # no time is in it


def test_missing_metrics_are_503_with_the_reason():
    def scrape(accept):
        raise ControlError("The supervisor did not answer within 3 s.")

    response = ask(scrape=scrape, accept_encoding="gzip")
    assert (response.status, response.body) == (503, b"The supervisor did not answer within 3 s.\n")
    assert header(response, "Content-Encoding") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/metrics", "/", "/nothing"])
def test_other_methods(method, path):
    response = ask(path, method)
    assert (response.status, header(response, "Allow")) == (405, "GET, HEAD")


def test_other_paths():
    assert ask("/nothing").status == 404
    assert ask("/-/healthy").status == 200
    assert b'href="/metrics"' in ask("/").body


def test_no_body_is_kept():
    plan = MetricsService(lambda accept: (b"", "")).plan("POST", "/metrics")
    assert (plan.keep, plan.drain_seconds) == (0, 1.0)


@pytest.mark.parametrize(
    ("accepted", "yes"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP , br", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
        ("identity", False),
        ("x-gzip", False),
        ("*", False),
    ],
)
def test_accepts_gzip(accepted, yes):
    assert accepts_gzip(accepted) is yes
