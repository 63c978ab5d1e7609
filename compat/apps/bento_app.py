"""BentoML."""

import bentoml
from model import load


@bentoml.service
class Double:
    def __init__(self) -> None:
        self.weight = load()

    @bentoml.api
    def predict(self, x: float) -> dict[str, float]:
        return {"y": self.weight * x}
