"""Sends every datatype in every form through Triton's HTTP client to a model that returns what it gets.

Usage: triton_echo.py HOST:PORT MODEL

Prints one JSON object: for each exchange by name what was sent and what came back (or the error), tensors as the bytes of
their elements; then what the calls of Triton's extensions were answered. Tensors are named for their datatypes.
"""

import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

SHAPE = [2, 2]
VALUES = {
    "BOOL": np.array([True, False, False, True]),
    "INT8": np.array([-128, 127, 0, -1], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1, 0, -1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1, 0, -1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1, 2**53 + 1, -1], np.int64),
    "UINT8": np.array([0, 255, 1, 128], np.uint8),
    "UINT16": np.array([0, 2**16 - 1, 1, 2**15], np.uint16),
    "UINT32": np.array([0, 2**32 - 1, 1, 2**31], np.uint32),
    "UINT64": np.array([0, 2**64 - 1, 2**53 + 1, 2**63], np.uint64),
    "FP16": np.array([0.1, -65504, 6e-8, 1.5], np.float16),
    "FP32": np.array([0.1, -3.4028235e38, 1e-45, 16777217], np.float32),
    "FP64": np.array([0.1, -1.7976931348623157e308, 5e-324, 2**53 + 2], np.float64),
    "BYTES": np.array(["", 'h\u00e9 "\\\n\x00', "\U0001f600", "aGk="], np.object_),
    "BF16": np.array([1.5, 0.1, 3.3895313892515355e38, -(2.0**-126)], ml_dtypes.bfloat16),
}
NO_TEXT = np.array([b"\x00\xff\xfe", b"", b"\x80abc", b"\xc3"], np.object_)
SPECIAL = np.array([np.inf, -np.inf, np.nan, -0.0])


class Echo:
    def __init__(self, endpoint, model):
        self.client = triton.InferenceServerClient(endpoint)
        self.model = model
        self.exchanges = {}

    def exchange(self, name, tensors, model=None, reshape=None, **options):
        """Sends (name, datatype, array, binary in, binary out) tuples."""
        inputs, outputs = [], []
        for tensor, datatype, array, binary_in, binary_out in tensors:
            made = triton.InferInput(tensor, list(array.shape), datatype)
            made.set_data_from_numpy(array, binary_data=binary_in)
            if reshape:
                made.set_shape(reshape)
            inputs.append(made)
            if binary_out is not None:
                outputs.append(triton.InferRequestedOutput(tensor, binary_data=binary_out))
        sent = {tensor: told(array) for tensor, _, array, _, _ in tensors}
        try:
            result = self.client.infer(model or self.model, inputs, outputs=outputs or None, **options)
            got = {output["name"]: told(result.as_numpy(output["name"])) for output in result.get_response()["outputs"]}
            answer = result.get_response()
            self.exchanges[name] = {
                "sent": sent,
                "got": got,
                "binary": sorted(o["name"] for o in answer["outputs"] if "binary_data_size" in o.get("parameters", {})),
                "id": answer.get("id"),
                "parameters": answer.get("parameters"),
            }
        except InferenceServerException as error:
            self.exchanges[name] = {"sent": sent, "status": error.status(), "message": error.message()}

    def datatypes(self):
        for datatype, values in VALUES.items():
            array = values.reshape(SHAPE)
            for binary_in in (True, False):
                for binary_out in (True, False):
                    # The client refuses BF16 in JSON.
                    if datatype != "BF16" or binary_in:
                        self.exchange(
                            f"{datatype} {form(binary_in)} to {form(binary_out)}",
                            [(datatype, datatype, array, binary_in, binary_out)],
                        )
            self.exchange(f"{datatype} default", [(datatype, datatype, array, True, None)])
            self.exchange(f"{datatype} empty", [(datatype, datatype, array[:0], True, True)])
            if datatype != "BF16":
                self.exchange(f"{datatype} empty JSON", [(datatype, datatype, array[:0], False, False)])
        for datatype, numpy in [("FP32", np.float32), ("FP64", np.float64), ("FP16", np.float16)]:
            special = SPECIAL.astype(numpy).reshape(SHAPE)
            for binary in (True, False):
                self.exchange(f"{datatype} special {form(binary)}", [(datatype, datatype, special, binary, binary)])
        self.exchange("BYTES no text", [("BYTES", "BYTES", NO_TEXT.reshape(SHAPE), True, True)])

    def forms(self):
        def tensor(datatype, binary_in, binary_out):
            return (datatype, datatype, VALUES[datatype].reshape(SHAPE), binary_in, binary_out)

        mixed = [tensor("FP32", True, False), tensor("BYTES", False, True), tensor("INT64", False, False)]
        mixed += [tensor("UINT8", True, True), tensor("BOOL", False, False)]
        self.exchange("mixed", mixed)
        self.exchange("mixed, outputs in another order", mixed[::-1])
        large = np.random.default_rng(1).standard_normal((300, 1000)).astype(np.float32)
        for binary in (True, False):
            self.exchange(f"large {form(binary)}", [("FP32", "FP32", large, binary, binary)])
            for encoding in ("gzip", "deflate"):
                compressed = {"request_compression_algorithm": encoding}
                fp32 = [tensor("FP32", binary, binary)]
                self.exchange(f"{encoding} {form(binary)}", fp32, **compressed)
                self.exchange(f"{encoding} large {form(binary)}", [("FP32", "FP32", large, binary, binary)], **compressed)
            self.exchange(f"gzip mixed {binary}", mixed, request_compression_algorithm="gzip")
            asked = {"response_compression_algorithm": "gzip"}
            self.exchange(f"gzip wanted {form(binary)}", [tensor("FP32", binary, binary)], **asked)
        fp32 = [tensor("FP32", False, False)]
        self.exchange("id", fp32, request_id="r-1")
        self.exchange("priority and timeout", fp32, priority=3, timeout=1000000)
        self.exchange("sequence of a number", fp32, sequence_id=42, sequence_start=True)
        self.exchange("sequence of a text", fp32, sequence_id="s-1", sequence_end=True)
        own = {"text": "x", "integer": 7, "flag": True, "double": 1.5}
        self.exchange("parameters", fp32, parameters=own)
        self.exchange("version", fp32, model_version="1")
        self.exchange("header and query", fp32, headers={"x-foo": "bar"}, query_params={"q": 1})

    def errors(self):
        def tensor(binary):
            return [("FP32", "FP32", VALUES["FP32"].reshape(SHAPE), binary, binary)]

        for binary in (True, False):
            self.exchange(f"unknown model {form(binary)}", tensor(binary), model="nobody")
            self.exchange(f"wrong shape {form(binary)}", tensor(binary), reshape=[2, 3])

    def extensions(self):
        client, model = self.client, self.model
        return {
            "live": call(client.is_server_live),
            "ready": call(client.is_server_ready),
            "model_ready": call(client.is_model_ready, model),
            "nobody_ready": call(client.is_model_ready, "nobody"),
            "nobody": call(client.get_model_metadata, "nobody"),
            "metadata": call(client.get_model_metadata, model),
            "config": call(client.get_model_config, model),
            "statistics": call(lambda: keys(client.get_inference_statistics(model))),
            "index": call(client.get_model_repository_index),
            "load": call(client.load_model, model),
            "load_nobody": call(client.load_model, "nobody"),
            "load_with_config": call(client.load_model, model, config="nonsense"),
            "load_with_file": call(client.load_model, model, config="{}", files={"file:1/x": b"\x00\xff"}),
            "index_after": call(client.get_model_repository_index),
            "trace": call(client.get_trace_settings),
            "trace_model": call(client.get_trace_settings, model),
            "trace_update": call(client.update_trace_settings, None, {"trace_rate": "7", "trace_level": ["OFF"]}),
            "trace_update_model": call(client.update_trace_settings, model, {"trace_rate": "9"}),
            "trace_clear_model": call(client.update_trace_settings, model, {"trace_rate": None}),
            "trace_restored": call(client.update_trace_settings, None, {"trace_rate": None}),
            "trace_wrong": call(client.update_trace_settings, None, {"trace_level": ["NONSENSE"]}),
            "log": call(client.get_log_settings),
            "log_update": call(client.update_log_settings, {"log_verbose_level": 1, "log_info": True}),
            "log_restored": call(client.update_log_settings, {"log_verbose_level": 0}),
            "log_format": call(client.update_log_settings, {"log_format": "default"}),
            "system_shared_memory": call(client.get_system_shared_memory_status),
            "system_shared_memory_nobody": call(client.get_system_shared_memory_status, "nobody"),
            "system_register": call(client.register_system_shared_memory, "r", "/nobody", 64),
            "system_unregister": call(client.unregister_system_shared_memory, "r"),
            "system_unregister_all": call(client.unregister_system_shared_memory),
            "cuda_shared_memory": call(client.get_cuda_shared_memory_status),
            "cuda_register": call(client.register_cuda_shared_memory, "r", b"AAEC", 0, 64),
            "cuda_unregister_all": call(client.unregister_cuda_shared_memory),
        }


def form(binary):
    return "binary" if binary else "JSON"


def told(array):
    if array.dtype == np.object_:
        elements = [v.encode() if isinstance(v, str) else v for v in array.flatten()]
        return {"shape": list(array.shape), "data": [element.hex() for element in elements]}
    # All NaNs are one in JSON.
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.nan, array).astype(array.dtype)
    return {"shape": list(array.shape), "data": array.tobytes().hex()}


def keys(value):
    """The shape of an answer whose numbers change from one call to the next."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [keys(inner) for inner in value]
    return type(value).__name__


def call(function, *arguments, **named):
    try:
        return {"answered": function(*arguments, **named)}
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


def main(endpoint, model):
    echo = Echo(endpoint, model)
    echo.datatypes()
    echo.forms()
    echo.errors()
    print(json.dumps({"exchanges": echo.exchanges, "extensions": echo.extensions()}))


main(*sys.argv[1:])
