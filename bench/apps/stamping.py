"""An ASGI and a WSGI application that reports when a worker starts to import it."""

import os

from plain import app

__all__ = ["app", "wsgi"]

with open(os.environ["STAMPS"], "w") as stamps:
    stamps.write(f"{os.getpid()}\n")


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"OK"]
