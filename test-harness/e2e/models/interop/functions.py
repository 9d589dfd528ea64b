"""The models that every server of the interoperability tests has, as functions of NumPy arrays.

A function takes arrays by the names of its inputs, BYTES as arrays of `bytes`, and returns arrays by the names of its outputs. One
that streams yields them, an answer at a time.
"""

import json
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

NUMPY = {"BOOL": np.bool_, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_}


class Refused(Exception):
    """What is wrong with a request."""


class Model(NamedTuple):
    function: Callable
    # The datatype and the shape of each tensor, by its name.
    inputs: dict
    outputs: dict
    # Whether any input may be left out.
    optional: bool = False
    streams: bool = False


def affine(x):
    """y = W x + b in float32, for every row of x."""
    if x.ndim != 2 or x.shape[1] != W.shape[1]:
        raise Refused(f"x has shape {list(x.shape)}; expected [n, {W.shape[1]}]")
    return {"y": (x @ W.T + B).astype(np.float32)}


def concat(a, b):
    """ab = a followed by b, element by element."""
    return {"ab": a + b}


def identity(**inputs):
    """Every input, as an output of the same name."""
    return inputs


def words(text):
    """The words of a text, one after the other, as language models give theirs. At the word "fail" it fails."""
    for word in text.flatten()[0].split():
        if word == b"fail":
            raise Refused("the model lost its thread")
        yield {"word": np.array([word], np.object_)}


def writer(text_input, max_tokens):
    """Says each prompt again in capitals, up to `max_tokens` words of it."""
    prompts = [text.split() for text in text_input.flatten()]
    said = [own[:most] for own, most in zip(prompts, max_tokens.flatten())]
    ends = [b"stop" if own == all_of_it else b"length" for own, all_of_it in zip(said, prompts)]

    def column(values, dtype):
        return np.array(values, dtype).reshape(-1, 1)

    return {
        "text_output": column([b" ".join(own).upper() for own in said], np.object_),
        "finish_reason": column(ends, np.object_),
        "prompt_tokens": column([len(own) for own in prompts], np.int64),
        "completion_tokens": column([len(own) for own in said], np.int64),
    }


def speaker(text_input, max_tokens):
    """The same of one prompt, a word at a time."""
    answer = writer(text_input, max_tokens)
    said = answer["text_output"][0, 0].split()
    for at, word in enumerate(said, 1):
        end = answer["finish_reason"][0, 0] if at == len(said) else b""
        piece = word if at == 1 else b" " + word
        yield {"text_output": np.array([[piece]], np.object_), "finish_reason": np.array([[end]], np.object_)}


def letters(text):
    """How often a text has each letter of the alphabet: an embedding that can be worked out by hand."""
    alphabet = b"abcdefghijklmnopqrstuvwxyz"
    counts = [[own.count(letter) for letter in alphabet] for own in text.flatten()]
    return {"vector": np.array(counts, np.float32)}


weights = json.loads((Path(__file__).resolve().parents[1] / "mlserver/affine/weights.json").read_text())
W, B = (np.array(weights[name], np.float32) for name in ("W", "b"))

ANY = [-1, -1]
COLUMN = [-1, 1]
# What clients of `identity` send: a tensor of each kind, and the columns of a table.
NAMED = {"i": ("INT64", ANY), "b": ("BOOL", ANY), "f": ("FP32", ANY), "s": ("BYTES", ANY)}
NAMED |= {"ints": ("INT64", ANY), "floats": ("FP64", ANY), "texts": ("BYTES", ANY)}
MODELS = {
    "affine": Model(affine, {"x": ("FP32", [-1, 4])}, {"y": ("FP32", [-1, 3])}),
    "concat": Model(concat, {"a": ("BYTES", [-1]), "b": ("BYTES", [-1])}, {"ab": ("BYTES", [-1])}),
    "identity": Model(identity, NAMED, NAMED, optional=True),
    "words": Model(words, {"text": ("BYTES", [1])}, {"word": ("BYTES", [1])}, streams=True),
    "writer": Model(
        writer,
        {"text_input": ("BYTES", COLUMN), "max_tokens": ("INT32", COLUMN)},
        {
            "text_output": ("BYTES", COLUMN),
            "finish_reason": ("BYTES", COLUMN),
            "prompt_tokens": ("INT64", COLUMN),
            "completion_tokens": ("INT64", COLUMN),
        },
    ),
    "speaker": Model(
        speaker,
        {"text_input": ("BYTES", COLUMN), "max_tokens": ("INT32", COLUMN)},
        {"text_output": ("BYTES", COLUMN), "finish_reason": ("BYTES", COLUMN)},
        streams=True,
    ),
    "letters": Model(letters, {"text": ("BYTES", COLUMN)}, {"vector": ("FP32", [-1, 26])}),
}
