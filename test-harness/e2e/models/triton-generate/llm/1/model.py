"""A text word by word, or as a whole, beside what else the request had. At the word "fail" it fails, and of the text "nothing"
it has nothing to say."""

import json

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            text = tensor(request, "text_input", [b""])[0].decode()
            words = [] if text == "nothing" else text.split()
            for part in words if tensor(request, "stream", [False])[0] else [" ".join(words)] * bool(words):
                if "fail" in part:
                    sender.send(pb.InferenceResponse(error=pb.TritonError("the model lost its thread")))
                    break
                sender.send(answer(request, part))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def tensor(request, name, default):
    found = pb.get_input_tensor_by_name(request, name)
    return default if found is None else found.as_numpy()


def answer(request, text):
    seen = json.dumps(json.loads(request.parameters() or "{}"), sort_keys=True)
    lengths = [len(word) for word in text.split()]
    return pb.InferenceResponse([
        pb.Tensor("text_output", np.array([text], dtype=np.object_)),
        pb.Tensor("lengths", np.array(lengths, dtype=np.int32)),
        pb.Tensor("top", np.array(tensor(request, "top", [0.5]), dtype=np.float32)),
        pb.Tensor("parameters_seen", np.array([seen], dtype=np.object_)),
    ])
