"""ai-backend: the page on which users have their pictures styled.

    STYLE_TRANSFER          the URL of the service that does it (http://style-transfer:8000)
    STYLE_TRANSFER_TIMEOUT  seconds that a picture may take (90)

    uvicorn ai_backend:app --port 8000

Who the user is and of which class stands in headers that the way here has verified. They are shown, and passed on.
"""

import logging
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from web import ERRORS, LimitUploads, Pictures, Refused, passed_on

log = logging.getLogger("uvicorn.error")

PAGE = Path(__file__).parent / "page"
STYLE_TRANSFER = os.environ.get("STYLE_TRANSFER", "http://style-transfer:8000").rstrip("/")
TIMEOUT = float(os.environ.get("STYLE_TRANSFER_TIMEOUT", "90"))

# What of an answer goes back to the page.
SHOWN = ("content-type", "x-workload", "x-model-name", "x-model-version", "x-model-runtime", "x-model-endpoint")

# The page loads nothing from elsewhere, and no other site can show it in a frame.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


async def home(request):
    return FileResponse(PAGE / "home.html", headers=PAGE_HEADERS)


async def me(request):
    headers = request.headers
    user_class = headers.get("user_class") or headers.get("x-user-class") or "basic"
    return JSONResponse({"user": headers.get("x-user", ""), "class": user_class}, headers={"cache-control": "no-store"})


async def picture(request):
    began = time.perf_counter()
    async with Pictures(request) as pictures:
        files = {name: (name, data) for name, data in pictures.items() if name in ("picture", "style")}
    sent = time.perf_counter()
    try:
        client = request.app.state.client
        answer = await client.post(f"{STYLE_TRANSFER}/transfer", files=files, headers=passed_on(request.headers))
    except httpx.TimeoutException:
        raise Refused(504, f"The picture has taken longer than {TIMEOUT:g} seconds. Please try again.") from None
    except httpx.HTTPError as problem:
        log.warning("%s: %r", STYLE_TRANSFER, problem)
        raise Refused(503, "The style service cannot be reached. Please try again later.") from None
    ended = time.perf_counter()
    if answer.status_code != 200:
        raise refused(answer)
    headers = {name: answer.headers[name] for name in SHOWN if name in answer.headers}
    legs = f"call;dur={(ended - sent) * 1000:.1f}, backend;dur={(time.perf_counter() - began) * 1000:.1f}"
    headers["server-timing"] = ", ".join(filter(None, [answer.headers.get("server-timing"), legs]))
    headers["cache-control"] = "no-store"
    return Response(answer.content, headers=headers)


def refused(answer):
    """An error of the style service's own, or of something on the way there, which has other words."""
    try:
        return Refused(answer.status_code, str(answer.json()["error"]))
    except (ValueError, KeyError, TypeError):
        log.warning("%s: %s %s", STYLE_TRANSFER, answer.status_code, answer.text[:300])
    if answer.status_code in (429, 502, 503, 504):
        return Refused(503, "The style service is not available now. Please try again later.")
    return Refused(502, f"The style service has answered with an error ({answer.status_code}).")


@asynccontextmanager
async def lifespan(app):
    timeout = httpx.Timeout(TIMEOUT, connect=5)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
        app.state.client = client
        yield


app = Starlette(
    routes=[
        Route("/", lambda request: RedirectResponse("/home")),
        Route("/home", home),
        Route("/api/me", me),
        Route("/api/picture", picture, methods=["POST"]),
        Route("/healthz", lambda request: JSONResponse({"status": "ok"})),
        Mount("/page", StaticFiles(directory=PAGE)),
    ],
    middleware=[Middleware(LimitUploads)],
    exception_handlers=ERRORS,
    lifespan=lifespan,
)
