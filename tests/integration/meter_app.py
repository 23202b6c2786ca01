"""A metered app for a real server: answers after a moment, fails on demand. Run by test_meter_asgi."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
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


async def stream(_: Request) -> Response:
    """A model that says a word every 20 ms, a hundred of them."""

    async def words() -> AsyncIterator[bytes]:
        for number in range(100):
            content = {"choices": [{"delta": {"content": f"word{number} "}}]}
            yield b"data: " + json.dumps(content).encode() + b"\n\n"
            await asyncio.sleep(0.02)
        yield b'data: {"choices": [], "usage": {"total_tokens": 120}}\n\ndata: [DONE]\n\n'

    return StreamingResponse(words(), media_type="text/event-stream")


def pid(_: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


app = Meter.asgi(
    Starlette(
        routes=[Route("/v1/ask", ask, methods=["POST"]), Route("/v1/stream", stream), Route("/pid", pid)]
    ),
    lane=os.environ["METER_LANES"],
    routes=["/v1/*"],
    units=os.environ.get("METER_UNITS", "calls"),
    installment_every_s=0.2,
    checkpoint_every_s=0.1,
)
