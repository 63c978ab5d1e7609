"""Tornado on an inherited socket."""

import asyncio
import json
import socket
import sys

from model import load
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

WEIGHT = load()


class Predict(RequestHandler):
    def post(self) -> None:
        self.write({"y": WEIGHT * json.loads(self.request.body)["x"]})


async def main() -> None:
    server = HTTPServer(Application([("/predict", Predict)]))
    server.add_socket(socket.socket(fileno=int(sys.argv[1])))
    await asyncio.Event().wait()


asyncio.run(main())
