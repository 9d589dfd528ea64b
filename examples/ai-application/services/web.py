"""What both services have in common: uploads with limits, errors in words, and which headers are passed on."""

import math

from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

# The largest picture, in bytes; a form has up to two of them, and a little around them.
MAX_PICTURE_BYTES = 10 << 20
MAX_FORM_BYTES = 2 * MAX_PICTURE_BYTES + (64 << 10)
# What of an upload that is too large is read all the same. A client that is still sending does not look for an answer.
MAX_DISCARDED_BYTES = 128 << 20

# Who the user is, and what tracing needs. A request that is made for another one carries these on, and nothing else.
PASSED_ON = {
    "user_class", "x-user-class", "authorization", "x-id-token",
    "x-request-id", "traceparent", "tracestate", "baggage", "b3",
    "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
}  # fmt: skip


class Refused(Exception):
    """A request that is answered with this status and these words."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status, self.words = status, words


def passed_on(headers):
    """The headers of a request that go on to the next service."""
    return [(name, value) for name, value in headers.items() if name in PASSED_ON]


def error(status, words):
    """An error as every answer of the services has it."""
    return JSONResponse({"error": words}, status)


ERRORS = {
    Refused: lambda request, refused: error(refused.status, refused.words),
    HTTPException: lambda request, exception: error(exception.status_code, exception.detail),
    Exception: lambda request, exception: error(500, "Something went wrong here. The log says more."),
}


class Pictures:
    """The pictures of an uploaded form by name, as bytes: `async with Pictures(request) as pictures`."""

    def __init__(self, request):
        self.request = request

    async def __aenter__(self):
        content_type = self.request.headers.get("content-type", "")
        if not content_type.lower().startswith("multipart/form-data"):
            raise Refused(415, "Send the picture as a form (multipart/form-data) with a file called “picture”.")
        try:
            self.form = await self.request.form(max_files=2, max_fields=8)
        except FormParserError:
            raise Refused(400, "The form cannot be read: its parts are broken, or compressed. Please send it again.") from None
        pictures = {}
        for name, part in self.form.items():
            if hasattr(part, "read"):
                if part.size > MAX_PICTURE_BYTES:
                    raise too_large(part.size)
                pictures[name] = await part.read()
        if not pictures.get("picture"):
            raise Refused(400, "There is no picture in the form. Choose one and try again.")
        return pictures

    async def __aexit__(self, *exception):
        await self.form.close()


def too_large(size=None):
    megabytes = MAX_PICTURE_BYTES >> 20
    this_one = ""
    if size:
        size /= 1 << 20
        # Rounded up where it is little too large.
        this_one = f" This one has {math.ceil(size * 10) / 10 if size < megabytes + 1 else round(size):g} MB."
    return Refused(413, f"The picture is too large: at most {megabytes} MB are accepted.{this_one}")


class LimitUploads:
    """ASGI middleware: a body larger than a form may be is discarded, and answered with 413. Without it a form's files
    would be written to disk, whatever their size."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        declared = int(length) if length.isdigit() else 0
        if declared > MAX_FORM_BYTES:
            await discard(receive)
            return await self.refuse(scope, receive, send, declared)
        received, ended = 0, False

        async def limited():
            nonlocal received, ended
            message = await receive()
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if received > MAX_FORM_BYTES:
                raise TooMuch
            return message

        try:
            await self.app(scope, limited, send)
        except TooMuch:
            if not ended:
                await discard(receive)
            await self.refuse(scope, receive, send)

    async def refuse(self, scope, receive, send, size=None):
        refused = too_large(size)
        response = error(refused.status, refused.words)
        # What was not read any more would be taken for the next request.
        response.headers["connection"] = "close"
        await response(scope, receive, send)


class TooMuch(BaseException):
    """Not an `Exception`, which the application would answer itself."""


async def discard(receive):
    left = MAX_DISCARDED_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return
