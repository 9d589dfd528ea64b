"""Asks an endpoint through OpenAI's own client, which knows nothing of the filter.

Usage: openai_client.py HOST:PORT PICTURE PICTURE

Prints one JSON object: what each call gave, or the error that it raised.
"""

import base64
import json
import sys
from pathlib import Path

import openai


def told(call, *arguments, **named):
    try:
        return call(*arguments, **named).model_dump()
    except openai.APIStatusError as error:
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
            "type": error.type,
            "message": error.body["message"],
        }


def main(endpoint, *pictures):
    client = openai.OpenAI(base_url=f"http://{endpoint}/openai/v1", api_key="none", max_retries=0, timeout=120)
    pictures = [base64.b64encode(Path(picture).read_bytes()).decode() for picture in pictures]
    embed, complete = client.embeddings.create, client.completions.create
    messages = [{"role": "user", "content": "hello"}]
    print(
        json.dumps(
            {
                "models": [model.id for model in client.models.list()],
                "model": told(client.models.retrieve, "magenta-style"),
                "no_model": told(client.models.retrieve, "style-vector"),
                # Without a format the client asks for base64, and decodes it.
                "default": told(embed, model="magenta-style", input=pictures),
                "float": told(embed, model="magenta-style", input=pictures[0], encoding_format="float"),
                "not_a_picture": told(embed, model="magenta-style", input="hello"),
                "tokens": told(embed, model="magenta-style", input=[1, 2, 3]),
                "unknown_model": told(embed, model="style-vector", input=pictures[0]),
                "completions": told(
                    complete, model="writer", prompt=["one two three", "four"], max_tokens=2, temperature=0.5
                ),
                "short": told(complete, model="writer", prompt="five six"),
                "too_hot": told(complete, model="writer", prompt="a", temperature=3),
                "two_of_each": told(complete, model="writer", prompt="a", n=2),
                "stream": told(complete, model="writer", prompt="a", stream=True),
                "chat": told(client.chat.completions.create, model="writer", messages=messages),
            }
        )
    )


main(*sys.argv[1:])
