"""Asks gRPC endpoints (HOST:PORT ...) through Triton's gRPC client, and prints what it understood."""

import asyncio
import threading

import arrays
import telling
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from arrays import FLAGS, LARGE, A, B, F, I, S, X
from tritonclient.utils import InferenceServerException

BOUND = 60


def tell(endpoint):
    client = triton.InferenceServerClient(endpoint)

    def infer(model, output, coding=None, **inputs):
        tensors = [tensor(name, value) for name, value in inputs.items()]
        return client.infer(model, tensors, request_id="triton-1", compression_algorithm=coding).as_numpy(output)

    def output(*arguments, **inputs):
        return lambda: arrays.plain(infer(*arguments, **inputs))

    def large(coding):
        return lambda: bool((infer("identity", "f", coding, f=LARGE) == LARGE).all())

    return telling.each(
        {
            "live": client.is_server_live,
            "ready": client.is_server_ready,
            "model ready": lambda: client.is_model_ready("affine"),
            "inputs": lambda: client.get_model_metadata("affine", as_json=True)["inputs"],
            "affine": output("affine", "y", x=X),
            "concat": output("concat", "ab", a=A, b=B),
            "int64": output("identity", "i", i=I),
            "bool": output("identity", "b", b=FLAGS),
            "decimals": output("identity", "f", f=F),
            "no text": output("identity", "s", s=S),
            "large, plain": large(None),
            "large, gzip": large("gzip"),
            "large, deflate": large("deflate"),
            "in another thread": lambda: in_another_thread(client),
            "asynchronous": lambda: asynchronous(endpoint),
            "unknown model": lambda: refused(output("nobody", "y", x=X)),
            "wrong shape": lambda: refused(output("affine", "y", x=X[:, :3])),
        }
    )


def tensor(name, value):
    made = triton.InferInput(name, list(value.shape), arrays.datatype(value))
    made.set_data_from_numpy(value)
    return made


def refused(call):
    try:
        return {"answered": call()}
    except InferenceServerException as error:
        return {"status": error.status(), "said": bool(error.message())}


def asynchronous(endpoint):
    async def ask():
        async with tritonclient.grpc.aio.InferenceServerClient(endpoint) as client:
            result = await client.infer("affine", [tensor("x", X)])
            return [await client.is_model_ready("affine"), arrays.plain(result.as_numpy("y"))]

    return asyncio.run(ask())


def in_another_thread(client):
    done, told = threading.Event(), []

    def answered(result, error):
        told.append(str(error) if error else arrays.plain(result.as_numpy("y")))
        done.set()

    client.async_infer("affine", [tensor("x", X)], answered)
    done.wait(BOUND)
    return told


if __name__ == "__main__":
    telling.main("tritonclient", tell)
