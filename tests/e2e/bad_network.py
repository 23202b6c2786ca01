"""A network that drops, loses, delays and repeats: proxies on loopback, one per link, drawn from a seed.

with BadNetwork(seed=1, faults=Faults(drop=0.1)) as bad:
    url = bad.link(target_port)
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

HEAD_END = b"\r\n\r\n"
PATIENCE_S = 10.0
MAX_HEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what happens to a request, between 0 and 1; `delay_s` is the longest delay.

    drop:      it never arrives
    lose:      it arrives, its answer does not
    duplicate: it arrives twice, its second answer is delivered
    delay:     it arrives late
    """

    drop: float = 0.0
    lose: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.2


CALM = Faults()


@dataclass
class Link:
    """One direction between two programs; `ends` names them where a network can be split between them."""

    target_port: int
    faults: Faults
    random: random.Random
    ends: tuple[int, int] | None = None
    is_cut: bool = False
    port: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def has(self, kind: str) -> bool:
        """Draw whether a fault happens to the next request."""
        happens = (kind == "drop" and self.is_cut) or self.random.random() < getattr(self.faults, kind)
        self.done[kind] += happens
        return happens


class BadNetwork:
    """Proxies in a thread of their own. `links` are in the order in which they were made."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.links: list[Link] = []
        self._random = random.Random(seed)
        self._faults = faults
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad network", daemon=True)

    def link(
        self, target_port: int, faults: Faults | None = None, ends: tuple[int, int] | None = None
    ) -> str:
        """Open a link to a port; returns the URL that leads over it."""
        link = Link(target_port, faults or self._faults, random.Random(self._random.random()), ends)
        link.port = asyncio.run_coroutine_threadsafe(self._listen(link), self._loop).result(10)
        self.links.append(link)
        return f"http://127.0.0.1:{link.port}"

    def calm(self) -> None:
        """Let everything through from now on."""
        for link in self.links:
            link.faults = CALM

    def split(self, side: Collection[int] = ()) -> None:
        """Cut every link between one side and the rest; without a side all are whole again."""
        for link in self.links:
            link.is_cut = link.ends is not None and (link.ends[0] in side) != (link.ends[1] in side)

    @property
    def is_split(self) -> bool:
        """Whether any link is cut."""
        return any(link.is_cut for link in self.links)

    def done(self) -> Counter[str]:
        """How many faults of each kind there were, over all links."""
        return sum((link.done for link in self.links), Counter())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self, link: Link) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                answer = await asyncio.wait_for(_carry(link, reader), PATIENCE_S)
                writer.write(answer)
                await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass  # whoever asked, or was asked, is gone: that too is a bad network
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _carry(link: Link, reader: asyncio.StreamReader) -> bytes:
    """Take one request over a link and return its answer; nothing if either is lost."""
    request = await _read_request(reader)
    if link.has("drop"):
        return b""
    if link.has("delay"):
        await asyncio.sleep(link.random.random() * link.faults.delay_s)
    answer = await _ask(link.target_port, request)
    if link.has("duplicate"):
        answer = await _ask(link.target_port, request)
    return b"" if link.has("lose") else answer


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request, and make it the last of its connection."""
    head = await reader.readuntil(HEAD_END)
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
    sizes = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
    body = await reader.readexactly(sizes[0]) if sizes else b""
    return b"\r\n".join([*lines, b"Connection: close"]) + HEAD_END + body


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()
