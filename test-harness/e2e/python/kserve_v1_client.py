"""Asks a KServe v1 endpoint (HOST:PORT) through the KServe SDK's REST client, and prints what it understood as JSON.

Needs the packages `kserve` and `httpx` only: of the SDK's servers nothing is started.
"""

import asyncio
import json
import sys

from kserve import InferenceRESTClient, RESTConfig


async def main(endpoint):
    url = f"http://{endpoint}"
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=0, timeout=30))

    async def predict(model, data):
        return await client.infer(url, data, model_name=model)

    async def error(model, data):
        try:
            await predict(model, data)
        except Exception as refused:  # The client's own type is httpx's.
            return {"status": refused.response.status_code, "error": refused.response.json().get("error")}
        return None

    rows = [[1, 2, 3, 5], [0.5, -1.5, 0, 1000]]
    words = [{"a": "gr", "b": "pc"}, {"a": "hé", "b": "llo 😀"}]
    print(
        json.dumps(
            {
                "affine_ready": await client.is_model_ready(url, "affine"),
                "rows": await predict("affine", {"instances": rows}),
                "columns": await predict("affine", {"inputs": rows}),
                "by_name": await predict("affine", {"instances": [{"x": row} for row in rows]}),
                "words": await predict("concat", {"instances": words}),
                "unknown_model": await error("nobody", {"instances": rows}),
                "wrong_shape": await error("affine", {"instances": [[1, 2, 3]]}),
            }
        )
    )
    await client.close()


asyncio.run(main(sys.argv[1]))
