"""Asks KServe v1 endpoints (HOST:PORT ...) through the KServe SDK's REST client, and prints what it understood."""

import asyncio

import telling
from arrays import ROWS
from kserve import InferenceRESTClient, RESTConfig

WORDS = [{"a": "gr", "b": "pc"}, {"a": "hé", "b": "llo 😀"}]


async def tell(endpoint):
    url = f"http://{endpoint}"
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=0, timeout=30))

    def predict(model, data):
        return lambda: client.infer(url, data, model_name=model)

    def error(model, data):
        async def call():
            try:
                return await client.infer(url, data, model_name=model)
            except Exception as refused:  # The client's own type is httpx's.
                return {"status": refused.response.status_code, "said": bool(refused.response.json().get("error"))}

        return call

    told = await telling.each_awaited(
        {
            "model ready": lambda: client.is_model_ready(url, "affine"),
            "instances": predict("affine", {"instances": ROWS}),
            "inputs": predict("affine", {"inputs": ROWS}),
            "instances by name": predict("affine", {"instances": [{"x": row} for row in ROWS]}),
            "words": predict("concat", {"instances": WORDS}),
            "unknown model": error("nobody", {"instances": ROWS}),
            "wrong shape": error("affine", {"instances": [[1, 2, 3]]}),
        }
    )
    await client.close()
    return told


telling.main("kserve", lambda endpoint: asyncio.run(tell(endpoint)))
