"""Texts in capitals, and the sum of each one's numbers."""

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse(answer(request)) for request in requests]


def answer(request):
    texts = pb.get_input_tensor_by_name(request, "text_input").as_numpy()
    numbers = pb.get_input_tensor_by_name(request, "numbers").as_numpy()
    capitals = [[text.decode().upper()] for text in texts[:, 0]]
    return [
        pb.Tensor("text_output", np.array(capitals, dtype=np.object_)),
        pb.Tensor("sum", numbers.sum(axis=1, keepdims=True)),
    ]
