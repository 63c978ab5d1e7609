"""MLServer."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import load


class Double(MLModel):
    async def load(self) -> bool:
        self.weight = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answer = self.weight * self.decode(payload.inputs[0], default_codec=NumpyCodec)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", answer)])
