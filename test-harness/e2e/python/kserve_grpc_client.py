"""Asks gRPC endpoints (HOST:PORT ...) through the KServe SDK's gRPC client, and prints what it understood."""

import asyncio
import logging

import arrays
import grpc
import telling
from arrays import FLAGS, LARGE, A, B, F, I, S, X
from kserve import InferenceGRPCClient
from kserve_v2_client import named, request


async def tell(endpoint):
    client = InferenceGRPCClient(endpoint, retries=0, timeout=60)

    def output(model, name, raw=True, **inputs):
        async def call():
            return arrays.plain(named(name, await client.infer(request(model, raw, **inputs))))

        return call

    def error(call):
        async def attempt():
            try:
                return {"answered": await call()}
            except grpc.RpcError as refused:
                return {"status": refused.code().name, "said": bool(refused.details())}

        return attempt

    async def large():
        return bool((named("f", await client.infer(request("identity", True, f=LARGE))) == LARGE).all())

    told = await telling.each_awaited(
        {
            "live": client.is_server_live,
            "ready": client.is_server_ready,
            "model ready": lambda: client.is_model_ready("affine"),
            "affine": output("affine", "y", x=X),
            "affine, contents": output("affine", "y", raw=False, x=X),
            "concat": output("concat", "ab", a=A, b=B),
            "int64": output("identity", "i", i=I),
            "bool": output("identity", "b", b=FLAGS),
            "decimals": output("identity", "f", f=F),
            "no text": output("identity", "s", s=S),
            "large": large,
            "unknown model": error(output("nobody", "y", x=X)),
            "wrong shape": error(output("affine", "y", x=X[:, :3])),
        }
    )
    await client.close()
    return told


logging.disable()  # The client logs what it raises.
telling.main("kserve", lambda endpoint: asyncio.run(tell(endpoint)))
