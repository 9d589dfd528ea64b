"""Both style-transfer models, as runtimes of MLServer. Each group of model servers has an engine of its own."""

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Style(MLModel):
    """What both have in common: tensors are checked against the model's settings, and every inference is a line of the log."""

    runtime = ""

    async def load(self) -> bool:
        folder = Path(self.settings._source).parent
        await asyncio.to_thread(self.load_networks, folder)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        began = time.monotonic()
        tensors = {tensor.name: tensor for tensor in payload.inputs}
        arrays = [self.array(tensors, declared) for declared in self.settings.inputs]
        # In a thread of its own, so that the server goes on to say that it is alive.
        stylized = await asyncio.to_thread(self.stylize, *arrays)
        self.tell(payload, time.monotonic() - began)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            id=payload.id,
            parameters={"runtime": self.runtime},
            outputs=[NumpyCodec.encode_output("stylized", stylized)],
        )

    def array(self, tensors, declared):
        tensor = tensors.get(declared.name)
        if tensor is None:
            raise InferenceError(f"the input {declared.name!r} is missing")
        datatype = str(getattr(tensor.datatype, "value", tensor.datatype))
        if datatype != "FP32" or list(tensor.shape) != list(declared.shape):
            raise InferenceError(f"{declared.name!r} is {datatype} {list(tensor.shape)}; expected FP32 {declared.shape}")
        return NumpyCodec.decode_input(tensor).astype(np.float32, copy=False)

    def tell(self, payload, seconds):
        inputs = [{"name": tensor.name, "shape": tensor.shape} for tensor in payload.inputs]
        headers = getattr(payload.parameters, "headers", None) or {}
        got = {"model": self.name, "id": payload.id, "headers": headers, "inputs": inputs, "seconds": round(seconds, 3)}
        print("got " + json.dumps(got), flush=True)


class FixedStyle(Style):
    """`image` to `stylized`, by OpenVINO."""

    def load_networks(self, folder):
        # OpenVINO reports to its maker that it has been imported, from a forked process that it ends by SIGTERM where the machine
        # has no way out. The fork has MLServer's signal handlers, and the pipe that they write to: MLServer would end itself.
        sys.modules["openvino_telemetry"] = None
        import openvino

        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"
        # Without the hint OpenVINO may compute in less than 32 bits: 0.05 off in the mean.
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.network = openvino.Core().compile_model(folder / "model.onnx", "CPU", hints)

    def stylize(self, image):
        return self.network.create_infer_request().infer([image])[0]


class ArbitraryStyle(Style):
    """`content_image` in the style of `style_image`, by ONNX Runtime: one network says what the style is, in a few numbers,
    the other applies it."""

    def load_networks(self, folder):
        import onnxruntime

        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"
        session = lambda name: onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        self.predict_style, self.transform = session("predict.onnx"), session("transform.onnx")
        self.style_input = self.predict_style.get_inputs()[0].name
        self.content_input, self.vector_input = (declared.name for declared in self.transform.get_inputs())

    def stylize(self, content, style):
        [vector] = self.predict_style.run(None, {self.style_input: style})
        [stylized] = self.transform.run(None, {self.content_input: content, self.vector_input: vector})
        return stylized
