"""Servers and applications which fail to start."""

import contextlib

import pytest
from fastapi import FastAPI

from drum_supervisor.servers import uvicorn_server
from drum_supervisor.servers.process import ServerConfig, StopSignals
from tests.http.children import listening


def test_error_at_the_start_of_an_application_is_raised():
    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise ValueError("cannot start")
        yield

    with listening() as listener, pytest.raises(ValueError, match="cannot start"):
        uvicorn_server.serve(FastAPI(lifespan=lifespan), ServerConfig(listener, StopSignals(), lambda: None, 1.0))
