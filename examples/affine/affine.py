"""A model to try the filters with, for MLServer: y = W x + b in float32, for every row of x."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

W = np.array([[0.5, -1.25, 2, 0.125], [-3, 0.75, 1.5, -0.5], [0.0625, 4, -2.5, 1]], np.float32)
B = np.array([0.25, -1, 8], np.float32)


class Affine(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = NumpyCodec.decode_input(payload.inputs[0]) @ W.T + B
        output = ResponseOutput(name="y", datatype="FP32", shape=list(y.shape), data=y.flatten().tolist())
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
