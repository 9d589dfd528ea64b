"""The models of `functions.py` on MLServer."""

import numpy as np
from functions import MODELS, NUMPY, Refused
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Function(MLModel):
    async def load(self) -> bool:
        self.model = MODELS[self.name]
        self.ready = True
        return self.ready

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        try:
            return self.answer(payload, self.model.function(**arrays(payload)))
        except Refused as refused:
            raise InferenceError(str(refused)) from refused

    async def predict_stream(self, payloads):
        async for payload in payloads:
            try:
                for outputs in self.model.function(**arrays(payload)):
                    yield self.answer(payload, outputs)
            except Refused as refused:
                raise InferenceError(str(refused)) from refused

    def answer(self, payload, outputs):
        outputs = [
            ResponseOutput(
                name=name, datatype=self.model.outputs[name][0], shape=list(array.shape), data=array.flatten().tolist()
            )
            for name, array in outputs.items()
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)


def arrays(payload):
    return {tensor.name: array(tensor) for tensor in payload.inputs}


def array(tensor):
    datatype = str(getattr(tensor.datatype, "value", tensor.datatype))
    data = getattr(tensor.data, "root", tensor.data)
    if datatype == "BYTES":
        data = [value.encode() if isinstance(value, str) else value for value in data]
    return np.array(data, NUMPY[datatype]).reshape(tensor.shape)
