"""One proof out of a million notes, over HTTP: `python -m benchmarks.proofs`.

A bare route over `NoteTree.proof` in a process of its own, asked by one keep-alive client, one after another.
"""

from __future__ import annotations

import random
import sys
from statistics import quantiles

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from usufruct_protocol.sumtree import NoteTree

from benchmarks.figure import Figure, seconds, table
from benchmarks.protocol import words_of
from benchmarks.server import HOST, serving
from benchmarks.size import QUICK, Size

REQUESTS = 2_000
SLOWEST_MS = 20


def run(size: Size = QUICK) -> list[Figure]:
    """Ask for random proofs and for an empty answer in turns."""
    draw = random.Random(3)
    proofs, empty = [], []
    with (
        serving("benchmarks.proofs", size.proof_notes) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        for _ in range(REQUESTS):
            path = f"/proofs/{draw.randrange(size.proof_notes)}"
            proofs.append(seconds(lambda: client.get(path).raise_for_status()))  # noqa: B023
            empty.append(seconds(lambda: client.get("/").raise_for_status()))
    work = f"one proof out of {size.proof_notes:,} notes over HTTP, p99"
    slowest, floor = _p99(proofs), _p99(empty)
    return [
        Figure("proof", work, "", slowest * 1e3, SLOWEST_MS, unit="ms"),
        Figure("proof_floor", work, "p99 of an empty answer", slowest / floor, None),
    ]


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


def serve(notes: int, port: int) -> None:
    """Serve proofs until stopped."""
    tree = NoteTree(words_of(notes))

    async def proof(request: Request) -> Response:
        return Response(tree.proof(request.path_params["index"]), media_type="application/octet-stream")

    async def empty(_: Request) -> Response:
        return Response()

    app = Starlette(routes=[Route("/proofs/{index:int}", proof), Route("/", empty)])
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        print(table(run()))
