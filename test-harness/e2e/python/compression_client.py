"""Asks a KServe v2 endpoint (HOST:PORT) whose model `echo` gives back its inputs through Triton's HTTP client, compressed both
ways, and prints as JSON what came back right, and how it was encoded.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton


def main(endpoint):
    client = triton.InferenceServerClient(endpoint)
    found = {}
    for coding in ["gzip", "deflate", None]:
        for binary in [True, False]:
            value = (np.arange(200_000) % 1000).astype(np.float32)
            tensor = triton.InferInput("x", [len(value)], "FP32")
            tensor.set_data_from_numpy(value, binary_data=binary)
            result = client.infer(
                "echo",
                [tensor],
                outputs=[triton.InferRequestedOutput("x", binary_data=binary)],
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
            name = f"{coding or 'plain'}, {'binary' if binary else 'json'}"
            found[name] = bool(np.array_equal(result.as_numpy("x"), value))
    # The server's metadata are long, but this client reads a compressed answer of inferences only.
    platform = client.get_model_metadata("echo", headers={"accept-encoding": "gzip"})["platform"]
    found["metadata"] = platform == "python " * 1000
    print(json.dumps(found))


main(*sys.argv[1:])
