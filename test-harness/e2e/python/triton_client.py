"""Asks KServe v2 endpoints (HOST:PORT ...) through Triton's HTTP client, and prints what it understood.

Tensors travel as JSON or as binary data, plain or compressed both ways. Its asynchronous form accepts compressed answers in every
request.
"""

import asyncio

import arrays
import telling
import tritonclient.http as triton
import tritonclient.http.aio
from arrays import FLAGS, LARGE, A, B, F, I, S, X
from tritonclient.utils import InferenceServerException


def tell(endpoint):
    client = triton.InferenceServerClient(endpoint)
    calls = {
        "live": client.is_server_live,
        "ready": client.is_server_ready,
        "model ready": lambda: client.is_model_ready("affine"),
        "nobody ready": lambda: client.is_model_ready("nobody"),
        "inputs": lambda: client.get_model_metadata("affine")["inputs"],
        "binary: no text": lambda: output(client, "identity", "s", True, s=S),
    }
    for form, binary in (("JSON", False), ("binary", True)):

        def call(name, function, *arguments, binary=binary, form=form, **named):
            calls[f"{form}: {name}"] = lambda: function(client, *arguments, binary, **named)

        call("id", lambda *arguments, **named: infer(*arguments, **named).get_response()["id"], "affine", "y", x=X)
        call("affine", output, "affine", "y", x=X)
        call("concat", output, "concat", "ab", a=A, b=B)
        call("int64", output, "identity", "i", i=I)
        call("bool", output, "identity", "b", b=FLAGS)
        call("decimals", output, "identity", "f", f=F)
        for coding in (None, "gzip", "deflate"):
            call(f"large, {coding or 'plain'}", large, coding)
        call("asynchronous", asynchronous, endpoint)
        call("unknown model", error, "nobody", "y", x=X)
        call("wrong shape", error, "affine", "y", x=X[:, :3])
    return telling.each(calls)


def infer(client, model, output, binary, coding=None, **inputs):
    """The result, or of the asynchronous client what it comes with."""
    tensors = []
    for name, value in inputs.items():
        tensor = triton.InferInput(name, list(value.shape), arrays.datatype(value))
        tensor.set_data_from_numpy(value, binary_data=binary)
        tensors.append(tensor)
    return client.infer(
        model,
        tensors,
        outputs=[triton.InferRequestedOutput(output, binary_data=binary)],
        request_id="triton-1",
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )


def asynchronous(_, endpoint, binary):
    async def ask():
        async with tritonclient.http.aio.InferenceServerClient(endpoint) as client:
            ready = await client.is_model_ready("affine")
            inputs = (await client.get_model_metadata("affine"))["inputs"]
            result = await infer(client, "identity", "f", binary, f=LARGE)
            return [ready, inputs, bool((result.as_numpy("f") == LARGE).all())]

    return asyncio.run(ask())


def output(client, model, name, binary, **inputs):
    return arrays.plain(infer(client, model, name, binary, **inputs).as_numpy(name))


def large(client, coding, binary):
    return bool((infer(client, "identity", "f", binary, coding, f=LARGE).as_numpy("f") == LARGE).all())


def error(*arguments, **named):
    try:
        return infer(*arguments, **named).get_response()
    except InferenceServerException as refused:
        return {"status": refused.status(), "said": bool(refused.message())}


telling.main("tritonclient", tell)
