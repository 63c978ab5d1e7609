"""An ASGI and a WSGI application that tells when a worker has begun to import it."""

import os

from plain import app

__all__ = ["app", "wsgi"]

with open(os.environ["STAMPS"], "w") as stamps:
    stamps.write(f"{os.getpid()}\n")


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"OK"]
