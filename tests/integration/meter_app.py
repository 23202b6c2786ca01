"""A metered app for a real server: answers after a moment, fails on demand. Run by test_meter_asgi."""

from __future__ import annotations

import asyncio
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from usufruct_meter.meter import Meter


async def ask(request: Request) -> Response:
    body = (await request.body()).decode()
    if body.startswith("slow"):
        await asyncio.sleep(0.2)
    if body.startswith("raise"):
        raise RuntimeError("the model fell over")
    if body.startswith("fail"):
        return PlainTextResponse("no", status_code=422)
    return PlainTextResponse(f"answer to {body} by {os.getpid()}")


def pid(_: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


app = Meter.asgi(
    Starlette(routes=[Route("/v1/ask", ask, methods=["POST"]), Route("/pid", pid)]),
    lane=os.environ["METER_LANES"],
    routes=["/v1/*"],
    checkpoint_every_s=0.1,
)
