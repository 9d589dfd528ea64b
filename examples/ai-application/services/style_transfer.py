"""style-transfer: a picture in, the same picture in another style out.

It turns a picture into a tensor, has a model server work on it (KServe v2 over HTTP: the Open Inference Protocol), and turns
the tensor that comes back into a picture. It is started once for each model:

    MODEL_SERVER   HOST:PORT of the model server
    MODEL_NAME     tf-style-transfer or pt-style-transfer
    MODEL_FORMAT   tensorflow or pytorch; by default what MODEL_NAME begins with (tf, pt)
    PAYLOAD        json (default), or binary: tensors as bytes behind the JSON (the protocol's binary extension)
    MODEL_TIMEOUT  seconds that an inference may take (60)
    WORKLOAD       how this instance calls itself in its answers; by default the host's name

    uvicorn style_transfer:app --port 8000
"""

import io
import json
import logging
import os
import platform
import threading
import time
import warnings
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from web import ERRORS, LimitUploads, Pictures, Refused, passed_on

log = logging.getLogger("uvicorn.error")

# A picture of a few kilobytes can unpack to gigabytes, so its size is looked at before its pixels are.
MAX_PIXELS = 40_000_000
# Pillow holds a WebP four times while it reads it.
MAX_WEBP_PIXELS = 16_000_000
MIN_SIDE = 16
KINDS = ["JPEG", "PNG", "WEBP"]
# The longer side of a picture that is sent back.
MAX_RESULT_SIDE = 1024
# Larger pictures are reduced to this side as soon as they are read: with every copy, 40 million pixels take 160 MB more.
WORKING_SIDE = 2 * MAX_RESULT_SIDE
# One large picture after the other, for the same reason.
LARGE_PIXELS = 4_000_000
one_large_picture = threading.Lock()

# The texts of the 256 values that a colour can have; four digits tell them apart with room to spare.
TEXTS = [f"{value / 255:.4g}" for value in range(256)]

DEFAULT_STYLE = Path(__file__).parent / "page" / "samples" / "style-strokes.jpg"


class TensorFlowModel:
    """Takes a picture and a style picture, with the channels last."""

    sends = {"content_image": (384, 384), "style_image": (256, 256)}
    channels_last = True


class PyTorchModel:
    """Takes a picture, with the channels first. Its style is its own."""

    sends = {"image": (512, 512)}
    channels_last = False


MODELS = {"tensorflow": TensorFlowModel, "pytorch": PyTorchModel}


class Settings:
    def __init__(self, environment):
        self.server = environment.get("MODEL_SERVER", "127.0.0.1:8008")
        self.model = environment.get("MODEL_NAME", "pt-style-transfer")
        by_name = {"tf": "tensorflow", "pt": "pytorch"}.get(self.model.split("-")[0], "pytorch")
        self.format = environment.get("MODEL_FORMAT", by_name)
        self.binary = environment.get("PAYLOAD", "json") == "binary"
        self.timeout = float(environment.get("MODEL_TIMEOUT", "60"))
        self.workload = environment.get("WORKLOAD") or platform.node()
        if self.format not in MODELS:
            raise SystemExit(f"MODEL_FORMAT is {self.format!r}; expected one of {', '.join(MODELS)}")

    @property
    def url(self):
        return f"http://{self.server}/v2/models/{self.model}/infer"


settings = Settings(os.environ)


async def transfer(request):
    clock = Clock()
    async with Pictures(request) as pictures:
        original, arrays = await run_in_threadpool(prepare, pictures)
    clock.lap("prepare")
    body, headers = await run_in_threadpool(to_body, arrays)
    clock.lap("encode")
    answer = await infer(request, body, headers)
    clock.lap("model")
    stylized, told = await run_in_threadpool(from_answer, answer)
    clock.lap("decode")
    picture = await run_in_threadpool(finish, stylized, original)
    clock.lap("finish")
    return Response(picture, media_type="image/png", headers={
        "x-workload": settings.workload,
        "x-model-name": told.get("model_name", settings.model),
        "x-model-version": told.get("model_version", ""),
        "x-model-runtime": str(told.get("parameters", {}).get("runtime", "")),
        # Which server it was, if the way there says so.
        "x-model-endpoint": answer.headers.get("x-model-endpoint", ""),
        "server-timing": ", ".join(filter(None, [answer.headers.get("server-timing"), clock.header()])),
    })  # fmt: skip


def prepare(pictures):
    """The pictures as arrays of bytes in the sizes that the model takes, by the inputs' names, and the size of the original."""
    original, arrays = None, {}
    for name, size in MODELS[settings.format].sends.items():
        if name == "style_image":
            picture = square(read(pictures.get("style") or DEFAULT_STYLE.read_bytes(), "The style picture"))
        else:
            picture = read(pictures["picture"], "This file")
            original = picture.size
        arrays[name] = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    return original, arrays


def read(data, what):
    """A picture without transparency, the right way up."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=KINDS)
            width, height = picture.size
            most = MAX_WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS
            if width * height > most:
                raise Refused(413, f"{what} has {width} x {height} pixels; at most {most // 1_000_000} million are accepted.")
            if min(width, height) < MIN_SIDE:
                raise Refused(422, f"{what} has {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
            with one_large_picture if width * height > LARGE_PIXELS else nullcontext():
                return flat(picture)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(413, f"{what} has too many pixels; at most {MAX_PIXELS // 1_000_000} million are accepted.") from None
    except Exception as exception:  # Pillow's readers raise many kinds for files that are cut off or broken.
        log.info("unreadable picture: %r", exception)
        raise Refused(415, f"{what} cannot be read as a picture. Please use a JPEG, PNG or WebP file.") from None


def flat(picture):
    """An opened picture in red, green and blue on white, no larger than needed."""
    # A JPEG can be read in a half, a quarter or an eighth of its size, which is all that is needed of a large one.
    picture.draft("RGB", (MAX_RESULT_SIDE, MAX_RESULT_SIDE))
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I"):
        # Greys of 16 bits. Pillow would take all but the darkest 256 of them for white.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.has_transparency_data and picture.mode not in ("RGBA", "LA"):
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "P"):
        picture = picture.convert("RGB")
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS, reducing_gap=2)
    if picture.mode in ("RGBA", "LA"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def square(picture):
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def to_body(arrays):
    """The body of an inference request, and its headers."""
    model, inputs, tails = MODELS[settings.format], [], []
    for name, array in arrays.items():
        array = (array if model.channels_last else array.transpose(2, 0, 1))[None]
        inputs.append({"name": name, "shape": list(array.shape), "datatype": "FP32"})
        if settings.binary:
            tails.append((array / np.float32(255)).astype("<f4").tobytes())
            inputs[-1]["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            inputs[-1]["data"] = None
            tails.append(",".join(map(TEXTS.__getitem__, array.tobytes())).encode())
    headers = {f"x-model-format-{settings.format}": "true"}
    if settings.binary:
        document = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        headers |= {"content-type": "application/octet-stream", "inference-header-content-length": str(len(document))}
        return b"".join([document, *tails]), headers
    # The numbers are put in as text: a list of as many objects would take a second.
    pieces = json.dumps({"inputs": inputs}).encode().split(b"null")
    body = [piece for pair in zip(pieces, tails) for piece in (pair[0], b"[", pair[1], b"]")] + [pieces[-1]]
    return b"".join(body), headers | {"content-type": "application/json"}


async def infer(request, body, headers):
    """What the model server answers, if it is an answer."""
    client, passed = request.app.state.client, passed_on(request.headers)
    try:
        answer = await client.post(settings.url, content=body, headers=[*passed, *headers.items()])
    except httpx.TimeoutException:
        raise Refused(504, f"The model {settings.model} has not answered in {settings.timeout:g} seconds. Please try again.") from None
    except httpx.HTTPError as problem:
        log.warning("%s: %r", settings.url, problem)
        raise Refused(503, f"The model servers cannot be reached, so {settings.model} cannot work now. Please try again later.") from None
    if answer.status_code == 200:
        return answer
    words = said(answer)
    log.warning("%s: %s %s", settings.url, answer.status_code, words)
    if answer.status_code == 504:
        raise Refused(504, f"The model {settings.model} has not answered in time. Please try again.")
    # Why, says the log: it is about connections, and nothing that a user could do something about.
    if answer.status_code in (429, 502, 503):
        raise Refused(503, f"No model server for {settings.model} is available now. Please try again later.")
    raise Refused(502, f"The model {settings.model} has refused the picture: {words}")


def said(answer):
    try:
        return str(answer.json()["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return (answer.text.strip() or answer.reason_phrase)[:300]


def from_answer(answer):
    """The tensor `stylized` as height, width and channels, and the JSON around it."""
    content, length = answer.content, answer.headers.get("inference-header-content-length")
    try:
        told = json.loads(content[: int(length)] if length else content)
        [output] = told["outputs"]
        if "binary_data_size" in output.get("parameters", {}):
            start = int(length)
            array = np.frombuffer(content[start : start + output["parameters"]["binary_data_size"]], "<f4")
        else:
            array = np.array(output["data"], np.float32)
        array = array.reshape(output["shape"])[0]
    except (ValueError, KeyError, TypeError) as problem:
        log.warning("%s: %r", settings.url, problem)
        raise Refused(502, f"The model {settings.model} has given an answer that cannot be read.") from None
    return (array if MODELS[settings.format].channels_last else array.transpose(1, 2, 0)), told


def finish(stylized, original):
    """A PNG in the proportions of the original."""
    picture = Image.fromarray((np.clip(np.nan_to_num(stylized), 0, 1) * 255 + 0.5).astype(np.uint8))
    scale = min(1, MAX_RESULT_SIDE / max(original))
    size = tuple(max(1, round(side * scale)) for side in original)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


class Clock:
    """How long each part has taken, for `Server-Timing`."""

    def __init__(self):
        self.parts, self.last = [], time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.parts.append((name, now - self.last))
        self.last = now

    def header(self):
        parts = [*self.parts, ("style-transfer", sum(seconds for _, seconds in self.parts))]
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in parts)


@asynccontextmanager
async def lifespan(app):
    timeout = httpx.Timeout(settings.timeout, connect=5)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
        app.state.client = client
        yield


app = Starlette(
    routes=[
        Route("/transfer", transfer, methods=["POST"]),
        Route("/healthz", lambda request: JSONResponse({"status": "ok"})),
    ],
    middleware=[Middleware(LimitUploads)],
    exception_handlers=ERRORS,
    lifespan=lifespan,
)
