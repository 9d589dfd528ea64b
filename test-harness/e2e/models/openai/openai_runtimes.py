"""Models that clients of OpenAI's API are sent to, as MLServer runtimes: their tensors know nothing of that API."""

import asyncio
import base64
import io
import os
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Runtime(MLModel):
    async def load(self) -> bool:
        self.ready = True
        return self.ready

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: tensor for tensor in payload.inputs}
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=self.infer(inputs))


class Writer(Runtime):
    """Says each prompt again in capitals, up to `max_tokens` words of it: all at once, or word by word.

    Word by word it takes a second in front of "wait", and fails at "fail".
    """

    async def predict_stream(self, payloads):
        async for payload in payloads:
            inputs = {tensor.name: tensor for tensor in payload.inputs}
            (prompt,) = strings(inputs["text_input"])
            words = prompt.split()
            most = int(NumpyCodec.decode_input(inputs["max_tokens"]).flatten()[0])
            for at, word in enumerate(words[:most]):
                if word == "wait":
                    await asyncio.sleep(1)
                if word == "fail":
                    raise InferenceError("the model lost its thread")
                last = at + 1 == min(len(words), most)
                said = [
                    texts_of("text_output", [1, 1], [" " * (at > 0) + word.upper()]),
                    texts_of("finish_reason", [1, 1], [why(words, most) if last else ""]),
                    NumpyCodec.encode_output("prompt_tokens", np.array([[len(words)]], np.int64)),
                    NumpyCodec.encode_output("completion_tokens", np.array([[1]], np.int64)),
                ]
                yield InferenceResponse(model_name=self.name, model_version=self.version, outputs=said)

    def infer(self, inputs):
        texts = strings(inputs["text_input"])
        most = NumpyCodec.decode_input(inputs["max_tokens"]).flatten()
        words = [text.split() for text in texts]
        said = [own[:limit] for own, limit in zip(words, most)]
        if "temperature" in inputs and NumpyCodec.decode_input(inputs["temperature"]).max() > 2:
            raise InferenceError("temperature: too hot")
        shape = [len(texts), 1]
        return [
            texts_of("text_output", shape, [" ".join(own).upper() for own in said]),
            texts_of("finish_reason", shape, [why(own, limit) for own, limit in zip(words, most)]),
            NumpyCodec.encode_output("prompt_tokens", np.array([[len(own)] for own in words], np.int64)),
            NumpyCodec.encode_output("completion_tokens", np.array([[len(own)] for own in said], np.int64)),
        ]


class StyleVector(Runtime):
    """What the style of a picture (base64 of its file) is, in a hundred numbers: the first half of Magenta's model."""

    async def load(self) -> bool:
        import onnxruntime

        network = Path(os.environ["APPLICATION_MODELS"], "models/tensorflow/tf-style-transfer/predict.onnx")
        self.network = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        self.input = self.network.get_inputs()[0].name
        return await super().load()

    def infer(self, inputs):
        vectors = [self.vector(text) for text in strings(inputs["picture"])]
        return [NumpyCodec.encode_output("vector", np.stack(vectors).astype(np.float32))]

    def vector(self, text):
        from PIL import Image

        try:
            picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True))).convert("RGB")
        except (ValueError, OSError) as error:
            raise InferenceError(f"not a picture: {error}") from error
        pixels = np.asarray(picture.resize((256, 256)), np.float32)[np.newaxis] / 255
        return self.network.run(None, {self.input: pixels})[0].flatten()


def why(words, most):
    return "stop" if len(words) <= most else "length"


def strings(tensor):
    data = getattr(tensor.data, "root", tensor.data)
    return [value.decode() if isinstance(value, bytes) else value for value in data]


def texts_of(name, shape, texts):
    return ResponseOutput(name=name, datatype="BYTES", shape=shape, data=[text.encode() for text in texts])
