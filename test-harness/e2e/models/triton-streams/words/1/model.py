"""The words of a text, one after the other, as language models give theirs. At the word "fail" it fails."""

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            text = pb.get_input_tensor_by_name(request, "text").as_numpy()[0]
            for word in text.split():
                if word == b"fail":
                    sender.send(pb.InferenceResponse(error=pb.TritonError("the model lost its thread")))
                    break
                sender.send(pb.InferenceResponse([pb.Tensor("word", np.array([word], dtype=np.object_))]))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
