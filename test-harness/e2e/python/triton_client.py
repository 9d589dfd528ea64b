"""Asks a KServe v2 endpoint (HOST:PORT) through Triton's HTTP client, and prints what it understood as JSON.

Tensors travel as JSON data (`binary_data=False`).
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

DATATYPES = {"float32": "FP32", "int64": "INT64", "bool": "BOOL", "object": "BYTES"}


def main(endpoint):
    client = triton.InferenceServerClient(endpoint)
    x = np.array([[1, 2, 3, 5], [0.5, -1.5, 0, 1000]], dtype=np.float32)
    print(
        json.dumps(
            {
                "live": client.is_server_live(),
                "ready": client.is_server_ready(),
                "affine_ready": client.is_model_ready("affine"),
                "nobody_ready": client.is_model_ready("nobody"),
                "server": client.get_server_metadata()["name"],
                "affine_inputs": client.get_model_metadata("affine")["inputs"],
                "affine": infer(client, "affine", {"x": x}, "y"),
                "concat": infer(client, "concat", {"a": text("gr", "hé"), "b": text("pc", "llo 😀")}, "ab"),
                "int64": infer(client, "identity", {"i": np.array([-(2**63), 0, 2**63 - 1])}, "i"),
                "bool": infer(client, "identity", {"b": np.array([[True], [False]])}, "b"),
                "decimals": infer(client, "identity", {"f": np.array([0.1, 3e38, 1e-45], dtype=np.float32)}, "f"),
                "unknown_model": error(lambda: infer(client, "nobody", {"x": x}, "y")),
                "wrong_shape": error(lambda: infer(client, "affine", {"x": x[:, :3]}, "y")),
            }
        )
    )


def infer(client, model, inputs, output):
    tensors = []
    for name, value in inputs.items():
        tensor = triton.InferInput(name, list(value.shape), DATATYPES[str(value.dtype)])
        tensor.set_data_from_numpy(value, binary_data=False)
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(output, binary_data=False)]
    result = client.infer(model, tensors, outputs=wanted, request_id="triton-1")
    value = result.as_numpy(output)
    if value.dtype == np.object_:
        value = np.vectorize(lambda v: v.decode() if isinstance(v, bytes) else v)(value)
    return {"id": result.get_response()["id"], "shape": list(value.shape), "data": value.flatten().tolist()}


def text(*values):
    return np.array([v.encode() for v in values], dtype=np.object_)


def error(call):
    try:
        return {"answered": call()}
    except InferenceServerException as e:
        return {"status": e.status(), "message": e.message()}


main(sys.argv[1])
