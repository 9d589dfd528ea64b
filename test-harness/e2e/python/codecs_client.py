"""Encodes requests with MLServer's codecs, sends them to KServe v2 endpoints (HOST:PORT ...), and decodes the answers with the same.

Prints what came out of each codec, and the answers as they came.
"""

import json
from datetime import datetime, timezone
from urllib.request import Request, urlopen

import arrays
import numpy as np
import pandas as pd
import telling
from mlserver.codecs import (
    Base64Codec,
    DatetimeCodec,
    NumpyCodec,
    NumpyRequestCodec,
    PandasCodec,
    StringCodec,
    StringRequestCodec,
)
from mlserver.types import InferenceRequest, InferenceResponse

BOUND = 60
WORDS = ["hé", "", "llo 😀"]
BLOBS = [b"\x00\xff\xfe", b"abc"]
TIMES = [datetime(2026, 11, 29, 20, 30, 15, 250000, tzinfo=timezone.utc), datetime(1999, 12, 31)]
# The codec does not know the type that pandas 3 has for text.
TEXTS = pd.Series(WORDS, dtype=object)
TABLE = pd.DataFrame({"ints": [1, -2, 2**53 + 1], "floats": [0.1, -1e300, 2.5], "texts": TEXTS})


def tell(endpoint):
    answers = {}

    def ask(name, model, request):
        """The answer, which is also kept as it came."""
        request.id = "codecs-1"
        url = f"http://{endpoint}/v2/models/{model}/infer"
        body = request.model_dump_json().encode()
        with urlopen(Request(url, body, {"content-type": "application/json"}), timeout=BOUND) as answer:
            found = answer.read()
        answers[f"{name}: the answer"] = bare(json.loads(found))
        return InferenceResponse.model_validate_json(found)

    def tensor(name, codec, payload, plain=list, model="identity", of="s", **options):
        def call():
            request = InferenceRequest(inputs=[codec.encode_input(of, payload, **options)])
            [output] = ask(name, model, request).outputs
            return plain(codec.decode_output(output))

        return name, call

    def request(name, codec, payload, plain=list, of=None, **options):
        def call():
            request = codec.encode_request(payload, **options)
            if of:
                request.inputs[0].name = of
            return plain(codec.decode_response(ask(name, "identity", request)))

        return name, call

    told = telling.each(
        dict(
            [
                tensor("NumpyCodec", NumpyCodec, np.array([[1, -(2**63)]]), arrays.plain, of="i"),
                tensor("NumpyCodec, FP32", NumpyCodec, arrays.X, arrays.plain, model="affine", of="x"),
                tensor("StringCodec", StringCodec, WORDS, use_bytes=False),
                tensor("Base64Codec", Base64Codec, BLOBS, hexadecimal, use_bytes=False),
                tensor("DatetimeCodec", DatetimeCodec, TIMES, iso, use_bytes=False),
                request("NumpyRequestCodec", NumpyRequestCodec, arrays.I, arrays.plain, of="i"),
                request("StringRequestCodec", StringRequestCodec, WORDS, of="s", use_bytes=False),
                request("PandasCodec", PandasCodec, TABLE, columns, use_bytes=False),
            ]
        )
    )
    return told | answers


def hexadecimal(blobs):
    return [blob.hex() for blob in blobs]


def iso(times):
    return [time.isoformat() for time in times]


def columns(frame):
    return {name: plain_column(frame[name]) for name in frame.columns}


def plain_column(series):
    return [value.decode() if isinstance(value, bytes) else value for value in series.tolist()]


def bare(answer):
    """An answer without what is empty, its tensors by their names."""
    outputs = {}
    for output in answer.pop("outputs"):
        output = {key: value for key, value in output.items() if value not in (None, {})}
        outputs[output.pop("name")] = output
    answer = {key: value for key, value in answer.items() if value not in (None, {}, "")}
    return answer | {"outputs": outputs}


telling.main("mlserver", tell)
