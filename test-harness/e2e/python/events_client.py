"""Asks KServe v2 endpoints (HOST:PORT ...) for streams of answers (`infer_stream`), as any HTTP client can, and prints the events.
"""

import http.client
import json

import telling

BOUND = 60


def tell(endpoint):
    return telling.each(
        {
            "a stream": lambda: events(endpoint, "words", "to be or"),
            "an error on the way": lambda: events(endpoint, "words", "to fail"),
        }
    )


def events(endpoint, model, text):
    """The words of the events; what a server says besides is left out. "broken off" if the answer has no clean end."""
    body = {"id": "7", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    connection = http.client.HTTPConnection(endpoint, timeout=BOUND)
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    connection.request("POST", f"/v2/models/{model}/infer_stream", json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        return {"status": answer.status}
    try:
        found = answer.read()
    except http.client.IncompleteRead:
        return "broken off"
    return [event(text) for text in found.decode().split("\n\n") if text]


def event(text):
    message = json.loads(text.removeprefix("data: "))
    return message["outputs"][0]["data"] if "outputs" in message else {"error": message["error"]}


telling.main("http", tell)
