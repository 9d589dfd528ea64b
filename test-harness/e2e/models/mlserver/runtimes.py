"""The models that end-to-end tests and the demo put behind Envoy, as MLServer runtimes."""

import json
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

# How many values of a tensor are printed.
SHOWN = 16


class Telling(MLModel):
    """Prints what a request brought, so that a test can see what arrived over gRPC."""

    async def load(self) -> bool:
        self.ready = True
        return self.ready

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        headers = getattr(payload.parameters, "headers", None) or {}
        got = {
            "model": self.name,
            "id": payload.id,
            "headers": headers,
            "inputs": [
                {"name": i.name, "datatype": str(i.datatype), "shape": i.shape, "data": shown(i.data)}
                for i in payload.inputs
            ],
        }
        print("got " + json.dumps(got), flush=True)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            id=payload.id,
            outputs=self.infer({i.name: i for i in payload.inputs}),
        )


class Affine(Telling):
    """y = W x + b in float32, for every row of x."""

    async def load(self) -> bool:
        weights = json.loads((Path(__file__).parent / "affine" / "weights.json").read_text())
        self.w = np.array(weights["W"], dtype=np.float32)
        self.b = np.array(weights["b"], dtype=np.float32)
        return await super().load()

    def infer(self, inputs):
        x = required(inputs, "x", "FP32")
        if len(x.shape) != 2 or x.shape[1] != self.w.shape[1]:
            raise InferenceError(f"x has shape {x.shape}; expected [n, {self.w.shape[1]}]")
        rows = NumpyCodec.decode_input(x)
        return [NumpyCodec.encode_output("y", (rows @ self.w.T + self.b).astype(np.float32))]


class Concat(Telling):
    """ab = a followed by b, element by element."""

    def infer(self, inputs):
        a, b = required(inputs, "a", "BYTES"), required(inputs, "b", "BYTES")
        if a.shape != b.shape:
            raise InferenceError(f"a has shape {a.shape}, b has {b.shape}")
        joined = [as_bytes(x) + as_bytes(y) for x, y in zip(values(a.data), values(b.data))]
        return [ResponseOutput(name="ab", datatype="BYTES", shape=a.shape, data=joined)]


class Identity(Telling):
    """Every input, as an output of the same name, datatype, shape and values."""

    def infer(self, inputs):
        return [
            ResponseOutput(name=i.name, datatype=i.datatype, shape=i.shape, data=i.data)
            for i in inputs.values()
        ]


class Words(Telling):
    """The words of a text, one after the other, as language models give theirs. At the word "fail" it fails."""

    def infer(self, inputs):
        words = as_bytes(values(required(inputs, "text", "BYTES").data)[0]).split()
        return [ResponseOutput(name="word", datatype="BYTES", shape=[len(words)], data=words)]

    async def predict_stream(self, payloads):
        async for payload in payloads:
            answer = await self.predict(payload)
            for word in answer.outputs[0].data:
                if as_bytes(word) == b"fail":
                    raise InferenceError("the model lost its thread")
                output = ResponseOutput(name="word", datatype="BYTES", shape=[1], data=[word])
                yield InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


def required(inputs, name, datatype):
    tensor = inputs.get(name)
    if tensor is None or str(getattr(tensor.datatype, "value", tensor.datatype)) != datatype:
        raise InferenceError(f"expected an input {name!r} of datatype {datatype}")
    return tensor


def values(data):
    return getattr(data, "root", data)


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def shown(data):
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in list(values(data))[:SHOWN]]
