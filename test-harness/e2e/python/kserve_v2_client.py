"""Asks KServe v2 endpoints (HOST:PORT ...) through the KServe SDK's REST client, and prints what it understood.

Bytes that are no text are not among it: of every binary tensor of an answer this client makes JSON before it gives it out.
"""

import asyncio

import arrays
import telling
from arrays import FLAGS, LARGE, A, B, F, I, X
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def tell(endpoint):
    url = f"http://{endpoint}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))

    async def infer(model, binary, outputs=None, **inputs):
        asked = request(model, binary, **inputs)
        asked.request_outputs = outputs
        return await client.infer(url, asked, model_name=model)

    async def output(model, name, binary, **inputs):
        return arrays.plain(named(name, await infer(model, binary, **inputs)))

    async def large(binary):
        return bool((named("f", await infer("identity", binary, f=LARGE)) == LARGE).all())

    async def error(*arguments, **named):
        try:
            return await output(*arguments, **named)
        except Exception as refused:  # The client's own type is httpx's.
            return {"status": refused.response.status_code, "said": bool(refused.response.json().get("error"))}

    async def identifier(binary):
        return (await infer("affine", binary, x=X)).id

    async def json_to_binary():
        wanted = [RequestedOutput("y", {"binary_data": True})]
        return arrays.plain(named("y", await infer("affine", False, wanted, x=X)))

    calls = {
        "live": lambda: client.is_server_live(url),
        "ready": lambda: client.is_server_ready(url),
        "model ready": lambda: client.is_model_ready(url, "affine"),
        "nobody ready": lambda: client.is_model_ready(url, "nobody"),
        "JSON to binary": json_to_binary,
    }
    for form, binary in (("JSON", False), ("binary", True)):

        def call(name, function, *arguments, binary=binary, form=form, **inputs):
            calls[f"{form}: {name}"] = lambda: function(*arguments, binary, **inputs)

        call("id", identifier)
        call("affine", output, "affine", "y", x=X)
        call("concat", output, "concat", "ab", a=A, b=B)
        call("int64", output, "identity", "i", i=I)
        call("bool", output, "identity", "b", b=FLAGS)
        call("decimals", output, "identity", "f", f=F)
        call("large", large)
        call("unknown model", error, "nobody", "y", x=X)
        call("wrong shape", error, "affine", "y", x=X[:, :3])
    told = await telling.each_awaited(calls)
    await client.close()
    return told


def request(model, binary, **inputs):
    tensors = []
    for name, value in inputs.items():
        tensor = InferInput(name, list(value.shape), arrays.datatype(value))
        tensor.set_data_from_numpy(value, binary_data=binary)
        tensors.append(tensor)
    return InferRequest(model, tensors, request_id="kserve-1", parameters={"binary_data_output": binary})


def named(name, answer):
    [found] = [tensor for tensor in answer.outputs if tensor.name == name]
    return found.as_numpy()


if __name__ == "__main__":
    telling.main("kserve", lambda endpoint: asyncio.run(tell(endpoint)))
