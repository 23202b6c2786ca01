"""A signer that uses its turns to propose against the others: `install` runs in its forked node.

Everything else it does is honest, so what it says cannot be told from the truth by how it says it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from usufruct_oracle.wire_json import hexed
from usufruct_protocol.bundle import LANES, unpack_lanes

VECTOR = re.compile(r"/v1/epochs/(\d+)/attempts/(\d+)/vector")
STALL_S = 20.0

Content = dict[str, Any]


def censor(content: Content, _asked: int) -> Content | None:
    """Count nothing new of the first two lanes, which everybody holds."""
    return {**content, "lanes": [*content["finalized"][:2], *content["lanes"][2:]]}


def erase(content: Content, _asked: int) -> Content | None:
    """Leave out a lane that was counted before."""
    return {**content, "lanes": [None, *content["lanes"][1:]]}


def contradict_itself(content: Content, asked: int) -> Content | None:
    """Tell every second one something else."""
    return censor(content, asked) if asked % 2 else content


def hide(_content: Content, _asked: int) -> Content | None:
    """Say that there is no proposal."""
    return None


def adopt(content: Content, _asked: int) -> Content | None:
    """Pretend that nobody has the receipts of the lanes, so that they add no weight."""
    return {**content, "adopted": [number for number, head in enumerate(content["lanes"]) if head]}


def withhold(content: Content, _asked: int) -> Content | None:
    """Pretend that the first license's roster is nowhere to be had, so that it pays nothing."""
    return {**content, "withheld": [1]}


def inflate(content: Content, _asked: int) -> Content | None:
    """Count receipts that nobody has."""
    lanes = [head and {**head, "count": head["count"] + 1} for head in content["lanes"]]
    return {**content, "lanes": lanes}


def invent_a_chain(content: Content, _asked: int) -> Content | None:
    """Name another cut-off."""
    return {**content, "cutoff_block_hash": "0x" + "ee" * 32}


ABUSES: tuple[Callable[[Content, int], Content | None], ...] = (
    censor,
    contradict_itself,
    erase,
    hide,
    adopt,
    withhold,
    inflate,
    invent_a_chain,
)


def install(index: int, size: int, url: str, first: int) -> None:
    """Abuse every turn of signer `index` of `size`, at `url`: each in another way, from the `first` on."""
    call = Starlette.__call__
    asked = itertools.count()
    turns: dict[tuple[int, int], int] = {}

    @functools.wraps(call)
    async def abusing(self: Starlette, scope: Any, receive: Any, send: Any) -> None:
        found = VECTOR.fullmatch(scope.get("path", ""))
        epoch, attempt = (int(found[1]), int(found[2])) if found else (0, 0)
        if found is None or (epoch + attempt) % size != index:
            await call(self, scope, receive, send)
            return
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        await call(self, scope, receive, keep)
        turn = next(asked)
        if turn % 11 == 5:
            await asyncio.sleep(STALL_S)
        body = b"".join(message.get("body", b"") for message in messages)
        if messages[0]["status"] == 200:
            number = turns.setdefault((epoch, attempt), len(turns))
            abuse = ABUSES[(first + number) % len(ABUSES)]
            told = abuse({**json.loads(body), "finalized": await finalized_heads(url, epoch - 1)}, turn)
            messages[0]["status"] = 404 if told is None else 200
            body = json.dumps(told or {}).encode()
        headers = [pair for pair in messages[0]["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**messages[0], "headers": headers})
        await send({"type": "http.response.body", "body": body})

    Starlette.__call__ = abusing  # type: ignore[method-assign]


async def finalized_heads(url: str, epoch: int) -> list[Content | None]:
    """How far the lanes were counted in an epoch, as a vector says it; nothing before the first."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/v1/epochs/{epoch}/bundle/{LANES}")
    heads = unpack_lanes(answer.content) if answer.status_code == 200 else ()
    return [
        head
        and {
            "lane": hexed(head.lane),
            "count": head.count,
            "cumulative_units": str(head.cumulative_units),
            "receipts_root": hexed(head.receipts_root),
            "signature": None,
        }
        for head in heads
    ]
