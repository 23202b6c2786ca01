"""Reading request bodies: never more than allowed, never slower than a minimum rate."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from usufruct_protocol.errors import InputRejected, Transient

FIRST_BYTES_S: Final = 10.0
MIN_BYTES_PER_S: Final = 65_536
ROOM_BYTES: Final = 128 * 1024 * 1024
ROOM_OF_SENDER_BYTES: Final = 16 * 1024 * 1024
SENDER: Final = "usufruct.sender"
"""Where the scope of a request says who its sender is; None where that is unknown."""


class TooLarge(InputRejected):
    """The body is larger than this node takes."""

    code = "too_large"


class TooSlow(InputRejected):
    """The body arrives too slowly, or has stopped arriving."""

    code = "too_slow"


class CutShort(InputRejected):
    """The connection ended before the body did."""

    code = "cut_short"


class BodyRoom:
    """How much of unfinished bodies is held in memory, all together and of one sender. For one event loop.

    Without the second limit one sender could fill the room and keep everybody else out.
    """

    def __init__(self, total_bytes: int = ROOM_BYTES, of_sender_bytes: int = ROOM_OF_SENDER_BYTES) -> None:
        self._total_bytes = total_bytes
        self._of_sender_bytes = of_sender_bytes
        self._taken_bytes = 0
        self._taken_by: Counter[str] = Counter()

    def take(self, sender: str | None, size: int) -> None:
        """Take room for bytes that have arrived. Raises: Transient, taking nothing, if there is none."""
        of_sender = self._taken_by[sender] + size if sender is not None else 0
        if self._taken_bytes + size > self._total_bytes or of_sender > self._of_sender_bytes:
            raise Transient("too many bodies arrive at once", hint="send again in a moment, or less at once")
        self._taken_bytes += size
        if sender is not None:
            self._taken_by[sender] = of_sender

    def give_back(self, sender: str | None, size: int) -> None:
        """Give room back."""
        self._taken_bytes -= size
        if sender is not None:
            self._taken_by[sender] -= size
            if not self._taken_by[sender]:
                del self._taken_by[sender]


async def read_body(
    request: Request,
    max_bytes: int,
    room: BodyRoom | None = None,
    *,
    min_bytes_per_s: int = MIN_BYTES_PER_S,
) -> bytes:
    """Read a request body.

    Raises: TooLarge as soon as that is known; TooSlow; CutShort; Transient if there is no room for it.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise TooLarge(f"body of {announced} bytes; at most {max_bytes}", hint="send less at once")
    sender: str | None = request.scope.get(SENDER)
    body = bytearray()
    taken = 0
    parts = request.stream()
    started = asyncio.get_running_loop().time()
    try:
        while True:
            # Whoever has sent n bytes has n / rate seconds more than whoever has sent none.
            async with asyncio.timeout_at(started + FIRST_BYTES_S + len(body) / min_bytes_per_s):
                part = await anext(parts)
            if len(body) + len(part) > max_bytes:
                raise TooLarge(f"body of more than {max_bytes} bytes", hint="send less at once")
            if room is not None:
                room.take(sender, len(part))
                taken += len(part)
            body += part
    except StopAsyncIteration:
        return bytes(body)
    except TimeoutError as error:
        raise TooSlow(
            f"{len(body)} bytes of the body arrived in time", hint=f"send {min_bytes_per_s} bytes per second"
        ) from error
    except ClientDisconnect as error:
        raise CutShort(f"the connection ended after {len(body)} bytes of the body") from error
    finally:
        if room is not None:
            room.give_back(sender, taken)
