"""Sanic, the model loaded before the server starts."""

from model import load
from sanic import HTTPResponse, Request, Sanic, json

app = Sanic("compat")


@app.before_server_start
async def start(app: Sanic) -> None:
    app.ctx.weight = load()


@app.post("/predict")
async def predict(request: Request) -> HTTPResponse:
    return json({"y": app.ctx.weight * request.json["x"]})
