"""aiohttp on an inherited socket, the model loaded at start-up."""

import socket
import sys

from aiohttp import web
from model import load

WEIGHT = web.AppKey("weight", float)


async def start(app: web.Application) -> None:
    app[WEIGHT] = load()


async def predict(request: web.Request) -> web.Response:
    return web.json_response({"y": request.app[WEIGHT] * (await request.json())["x"]})


app = web.Application()
app.on_startup.append(start)
app.router.add_post("/predict", predict)
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])))
