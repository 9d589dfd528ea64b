"""The KServe SDK's own model server with the models of `functions.py`, but for those that stream, which it cannot.

Usage: kserve_server.py --http_port PORT --grpc_port PORT

It listens on all addresses: the SDK has no option for that.
"""

import numpy as np
from functions import MODELS, Refused
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput


class Function(Model):
    def __init__(self, name, model):
        super().__init__(name)
        self.model = model
        self.load()

    def get_input_types(self):
        return tensors(self.model.inputs)

    def get_output_types(self):
        return tensors(self.model.outputs)

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        try:
            outputs = self.model.function(**{tensor.name: array(tensor) for tensor in payload.inputs})
        except Refused as refused:
            raise InvalidInput(str(refused)) from refused
        return InferResponse(
            response_id=payload.id,
            model_name=self.name,
            infer_outputs=[self.output(name, array) for name, array in outputs.items()],
        )

    def output(self, name, array):
        made = InferOutput(name, list(array.shape), self.model.outputs[name][0])
        made.set_data_from_numpy(array)
        return made


def tensors(declared):
    return [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in declared.items()]


def array(tensor):
    array = tensor.as_numpy()
    if tensor.datatype != "BYTES":
        return array
    elements = [value.encode() if isinstance(value, str) else value for value in array.flatten()]
    made = np.empty(len(elements), np.object_)
    made[:] = elements
    return made.reshape(array.shape)


if __name__ == "__main__":
    ModelServer().start([Function(name, model) for name, model in MODELS.items() if not model.streams])
