"""Asks endpoints (HOST:PORT ...) for Triton's `generate` and `generate_stream`, as any HTTP client can, and prints the outputs."""

import http.client
import json

import telling

BOUND = 60


def tell(endpoint):
    return telling.each(
        {
            "one answer": lambda: generate(endpoint, "generate", "to"),
            "a stream": lambda: generate(endpoint, "generate_stream", "to be or"),
            "an error on the way": lambda: generate(endpoint, "generate_stream", "to fail"),
        }
    )


def generate(endpoint, method, text):
    connection = http.client.HTTPConnection(endpoint, timeout=BOUND)
    connection.request("POST", f"/v2/models/words/{method}", json.dumps({"text": text}))
    answer = connection.getresponse()
    found = answer.read().decode()
    if answer.status != 200:
        return "refused"
    events = [event.removeprefix("data: ") for event in found.split("\n\n")] if method == "generate_stream" else [found]
    return [output(json.loads(event)) for event in events if event]


def output(event):
    return event["word"] if "word" in event else {"error": event["error"]}


telling.main("http", tell)
