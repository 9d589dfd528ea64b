"""A model of `functions.py` on Triton, by the name of its folder."""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

sys.path.insert(0, str(Path(__file__).resolve().parent))
from functions import MODELS, Refused


class TritonPythonModel:
    def initialize(self, arguments):
        self.model = MODELS[arguments["model_name"]]

    def execute(self, requests):
        if self.model.streams:
            for request in requests:
                self.stream(request)
            return None
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            return answered(self.model.function(**arrays(request)))
        except Refused as refused:
            return failed(refused)

    def stream(self, request):
        sender = request.get_response_sender()
        try:
            for outputs in self.model.function(**arrays(request)):
                sender.send(answered(outputs))
        except Refused as refused:
            sender.send(failed(refused))
        sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def arrays(request):
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def answered(outputs):
    return pb.InferenceResponse([pb.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()])


def failed(refused):
    return pb.InferenceResponse(error=pb.TritonError(str(refused), pb.TritonError.INVALID_ARG))
