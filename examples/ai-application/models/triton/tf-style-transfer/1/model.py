"""`content_image` in the style of `style_image`. The networks are in the folder that STYLE_NETWORKS names: predict.onnx and
transform.onnx, made by make_models.py."""

import os
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        folder = Path(os.environ["STYLE_NETWORKS"])
        self.predict, self.transform = (
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
            for name in ("predict.onnx", "transform.onnx")
        )

    def execute(self, requests):
        return [pb.InferenceResponse([self.styled(request)]) for request in requests]

    def styled(self, request):
        content, style = (
            pb.get_input_tensor_by_name(request, name).as_numpy() for name in ("content_image", "style_image")
        )
        [vector] = run(self.predict, [style])
        [stylized] = run(self.transform, [content, vector])
        return pb.Tensor("stylized", stylized)


def run(session, tensors):
    return session.run(None, {declared.name: tensor for declared, tensor in zip(session.get_inputs(), tensors)})
