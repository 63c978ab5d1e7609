"""Extending the application: added routes come first, the service answers the rest."""

import asyncio

import httpx
import pytest
from flask import Response as FlaskResponse
from starlette.requests import Request as StarletteRequest

from drum_supervisor.fronts import fastapi_front, flask_front
from drum_supervisor.http.messages import BodyPlan, Request, Response


class Service:
    """Answers with the method and the path."""

    def plan(self, method: str, path: str) -> BodyPlan:
        return BodyPlan()

    def answer(self, request: Request) -> Response:
        return Response(513, f"{request.method} {request.path}".encode(), "text/plain")


def extended_flask():
    app = flask_front.create_app(Service())

    @app.get("/mine/")
    def mine():
        return "mine"

    @app.after_request
    def sign(response: FlaskResponse) -> FlaskResponse:
        response.headers["X-Signed"] = "yes"
        return response

    client = app.test_client()
    return lambda method, path: client.open(path, method=method)


def extended_fastapi():
    app = fastapi_front.create_app(Service())

    @app.get("/mine/")
    async def mine() -> str:
        return "mine"

    @app.middleware("http")
    async def sign(request: StarletteRequest, call_next):
        response = await call_next(request)
        response.headers["X-Signed"] = "yes"
        return response

    async def ask(method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path)

    return lambda method, path: asyncio.run(ask(method, path))


@pytest.fixture(params=[extended_flask, extended_fastapi])
def ask(request):
    return request.param()


def test_added_route_is_served(ask):
    answer = ask("GET", "/mine/")
    assert answer.status_code == 200
    assert "mine" in answer.text


def test_added_route_refuses_other_methods(ask):
    assert ask("POST", "/mine/").status_code == 405


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "FOO"])
@pytest.mark.parametrize("path", ["/", "/mine/below", "/docs", "/openapi.json", "/static/x"])
def test_everything_else_goes_to_the_service(ask, method, path):
    answer = ask(method, path)
    assert answer.status_code == 513
    assert answer.text == f"{method} {path}"


def test_added_functions_see_every_answer(ask):
    assert ask("GET", "/mine/").headers["X-Signed"] == "yes"
    assert ask("GET", "/other").headers["X-Signed"] == "yes"
