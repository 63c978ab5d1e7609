"""Ray Serve: `python ray_app.py HOST PORT`, because its own command line cannot set them.

It reports readiness itself: the proxy answers /-/healthz with 200 long before the model is loaded.
"""

import os
import signal
import sys

import ray
from model import load
from ray import serve
from starlette.requests import Request


@serve.deployment
class Double:
    def __init__(self) -> None:
        self.weight = load()

    async def __call__(self, request: Request) -> dict[str, float]:
        return {"y": self.weight * (await request.json())["x"]}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": sys.argv[1], "port": int(sys.argv[2])})
    serve.run(Double.bind(), route_prefix="/predict")
    os.write(int(os.environ["DRUM_SUPERVISOR_REPORT_FD"]), b'{"kind": "ready"}\n')
    signal.pause()
