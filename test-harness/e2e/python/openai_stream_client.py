"""Asks an endpoint for completions in pieces through OpenAI's own client, which knows nothing of the filter.

Usage: openai_stream_client.py HOST:PORT

Prints one JSON object: for each call its chunks, when they came, and the error that it raised.
"""

import json
import sys
import time

import openai


def told(call, most=None):
    """Reads a stream to its end, or `most` chunks of it."""
    got = {"chunks": [], "times": [], "raised": None}
    try:
        stream = call()
        if isinstance(stream, openai.BaseModel):
            return {"answer": stream.model_dump()}
        for chunk in stream:
            got["chunks"].append(chunk.model_dump())
            got["times"].append(time.monotonic())
            if len(got["chunks"]) == most:
                stream.close()
                break
    except openai.APIError as error:
        got |= {"raised": [type(error).__name__, error.message], "param": error.param, "code": error.code}
    return got


def main(endpoint):
    client = openai.OpenAI(base_url=f"http://{endpoint}/openai/v1", api_key="none", max_retries=0, timeout=120)

    def complete(prompt, stream=True, **named):
        return lambda: client.completions.create(model="writer", prompt=prompt, stream=stream, **named)

    print(
        json.dumps(
            {
                "plain": told(complete("to be or")),
                "short": told(complete("a b c", max_tokens=2)),
                "usage": told(complete("a b", stream_options={"include_usage": True})),
                "slow": told(complete("first wait")),
                "fails": told(complete("to fail")),
                "left": told(complete("one " + "wait " * 15), most=1),
                "two": told(complete("a", n=2)),
                "whole": told(complete("to be", stream=False)),
            }
        )
    )


main(*sys.argv[1:])
