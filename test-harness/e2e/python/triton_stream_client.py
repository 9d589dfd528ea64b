"""Asks gRPC endpoints (HOST:PORT ...) through the streams of Triton's gRPC client, and prints what it understood."""

import asyncio
import contextlib
import queue

import arrays
import grpc
import numpy as np
import telling
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from triton_grpc_client import BOUND, tensor
from tritonclient.utils import InferenceServerException


def tell(endpoint):
    return telling.each(
        {
            "a stream": lambda: stream(endpoint, ["to be or"], 3),
            "two requests on one stream": lambda: stream(endpoint, ["to be", "or not"], 4),
            "an error on the way": lambda: stream(endpoint, ["to fail"], 2),
            "asynchronous": lambda: asynchronous(endpoint, ["to be", "or not"]),
            "unknown model": lambda: stream(endpoint, ["to"], 1, model="nobody"),
        }
    )


def stream(endpoint, texts, answers, model="words"):
    """What came on one stream: so many answers, or fewer if the stream itself fails."""
    told = queue.Queue()
    with triton.InferenceServerClient(endpoint) as client:
        client.start_stream(lambda result, error: told.put(word(result, error)))
        for text in texts:
            # On a stream that has ended the client raises that what was wrong will be reported, which is read below.
            with contextlib.suppress(InferenceServerException):
                client.async_stream_infer(model, [tensor("text", array(text))])
        found = []
        while len(found) < answers and not (found and "status" in found[-1]):
            found.append(told.get(timeout=BOUND))
        client.stop_stream()
    return found


def asynchronous(endpoint, texts):
    async def requests():
        for text in texts:
            yield {"model_name": "words", "inputs": [tensor("text", array(text))]}

    async def ask():
        async with tritonclient.grpc.aio.InferenceServerClient(endpoint) as client:
            return [word(*told) async for told in client.stream_infer(requests())]

    try:
        return asyncio.run(ask())
    except grpc.RpcError:
        # Its status depends on what comes first, the server's refusal or the client's next request.
        return "refused"


def array(text):
    return np.array([text.encode()], np.object_)


def word(result, error):
    if error is None:
        return {"word": arrays.plain(result.as_numpy("word"))}
    # Errors in messages have no status; others are the stream's own.
    return {"error": error.message()} | ({"status": error.status()} if error.status() else {})


telling.main("tritonclient", tell)
