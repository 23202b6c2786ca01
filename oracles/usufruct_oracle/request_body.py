"""Reading request bodies: never more than allowed, never slower than a minimum rate."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request
from usufruct_protocol.errors import InputRejected

FIRST_BYTES_S: Final = 10.0
MIN_BYTES_PER_S: Final = 65_536


class TooLarge(InputRejected):
    """The body is larger than this node takes."""

    code = "too_large"


class TooSlow(InputRejected):
    """The body arrives too slowly, or has stopped arriving."""

    code = "too_slow"


class CutShort(InputRejected):
    """The connection ended before the body did."""

    code = "cut_short"


async def read_body(request: Request, max_bytes: int, *, min_bytes_per_s: int = MIN_BYTES_PER_S) -> bytes:
    """Read a request body. Raises: TooLarge as soon as that is known, TooSlow, CutShort."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise TooLarge(f"body of {announced} bytes; at most {max_bytes}", hint="send less at once")
    body = bytearray()
    parts = request.stream()
    started = asyncio.get_running_loop().time()
    try:
        while True:
            # Whoever has sent n bytes has n / rate seconds more than whoever has sent none.
            async with asyncio.timeout_at(started + FIRST_BYTES_S + len(body) / min_bytes_per_s):
                body += await anext(parts)
            if len(body) > max_bytes:
                raise TooLarge(f"body of more than {max_bytes} bytes", hint="send less at once")
    except StopAsyncIteration:
        return bytes(body)
    except TimeoutError as error:
        raise TooSlow(
            f"{len(body)} bytes of the body arrived in time", hint=f"send {min_bytes_per_s} bytes per second"
        ) from error
    except ClientDisconnect as error:
        raise CutShort(f"the connection ended after {len(body)} bytes of the body") from error
