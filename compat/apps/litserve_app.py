"""LitServe on an inherited socket: `run` passes unknown arguments to uvicorn, `fd` too."""

import sys

import litserve
from model import load


class Double(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.weight = load()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads the annotation
        return float(request["x"])

    def predict(self, x: float) -> float:
        return self.weight * x

    def encode_response(self, output: float) -> dict[str, float]:
        return {"y": output}


if __name__ == "__main__":
    litserve.LitServer(Double(), accelerator="cpu").run(fd=int(sys.argv[1]), generate_client_file=False)
