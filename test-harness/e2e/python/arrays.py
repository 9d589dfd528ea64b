"""What the clients of the interoperability matrix send to the models that all servers have."""

import numpy as np

ROWS = [[1, 2, 3, 5], [0.5, -1.5, 0, 1000]]
X = np.array(ROWS, np.float32)
A = np.array([b"gr", "hé".encode()], np.object_)
B = np.array([b"pc", "llo 😀".encode()], np.object_)
I = np.array([[-(2**63), 0, 2**63 - 1]])
F = np.array([[0.1, 3e38, 1e-45]], np.float32)
FLAGS = np.array([[True], [False]])
# BYTES that are no text.
S = np.array([[b"\x00\xff\xfe", b"", b"\xc3"]], np.object_)
# Large enough that it comes in pieces, and that it pays to compress it.
LARGE = (np.arange(100_000) % 1000).astype(np.float32).reshape(1, -1)
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL", "object": "BYTES"}


def datatype(array):
    return DATATYPES[str(array.dtype)]


def plain(array):
    """An array as JSON has it: elements that are no text as the hexadecimal digits of their bytes."""
    if array.dtype != np.object_:
        return array.tolist()

    def text(value):
        try:
            return value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            return value.hex()

    return np.vectorize(text, otypes=[object])(array).tolist()
