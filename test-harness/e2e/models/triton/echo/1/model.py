"""Every input, as an output of the same name: the model behind Triton in the interoperability tests."""

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([echoed(tensor) for tensor in request.inputs()]) for request in requests]


def echoed(tensor):
    if tensor.name() == "BF16":  # which NumPy does not have
        return pb.Tensor.from_dlpack(tensor.name(), tensor.to_dlpack())
    return pb.Tensor(tensor.name(), tensor.as_numpy())
