"""Bodies that arrive: room for all of them together, and no more of it for one sender than its part."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request
from usufruct_oracle.http.request_body import SENDER, BodyRoom, CutShort, TooLarge, read_body
from usufruct_protocol.errors import Transient


def request(sender: str | None, parts: Sequence[bytes], *, ends: bool = True) -> Request:
    """A request whose parts come one per turn of the loop; without an end the client leaves."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": not ends or index + 1 < len(parts)}
        for index, part in enumerate(parts)
    ]
    messages += [] if ends else [{"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "headers": [], SENDER: sender}, receive)


def read_together(room: BodyRoom, *requests: Request) -> list[bytes | BaseException]:
    async def all_of_them() -> list[bytes | BaseException]:
        return await asyncio.gather(
            *(read_body(each, 100, room) for each in requests), return_exceptions=True
        )

    return asyncio.run(all_of_them())


def test_bodies_share_the_room_and_give_it_back() -> None:
    room = BodyRoom(total_bytes=100, of_sender_bytes=100)
    for _ in range(3):
        first, second = read_together(room, request("a", [b"x" * 30] * 3), request("b", [b"y" * 30] * 3))
        assert first == b"x" * 90
        assert isinstance(second, Transient)
    assert read_together(room, request("b", [b"y" * 100])) == [b"y" * 100]


def test_one_sender_cannot_fill_the_room() -> None:
    room = BodyRoom(total_bytes=1_000, of_sender_bytes=50)
    rude = [request("a", [b"x" * 20, b"x" * 20]) for _ in range(4)]
    *answers, polite, proxied = read_together(
        room, *rude, request("b", [b"y" * 40]), request(None, [b"z" * 100])
    )
    assert sum(isinstance(answer, Transient) for answer in answers) >= 2
    assert (polite, proxied) == (b"y" * 40, b"z" * 100)
    assert read_together(room, request("a", [b"x" * 50])) == [b"x" * 50]


@pytest.mark.parametrize(
    ("parts", "ends", "fault"),
    [([b"x" * 60, b"x" * 60], True, TooLarge), ([b"x" * 60], False, CutShort)],
)
def test_a_body_that_fails_leaves_nothing_behind(
    parts: list[bytes], ends: bool, fault: type[Exception]
) -> None:
    room = BodyRoom(total_bytes=100, of_sender_bytes=100)
    (failed,) = read_together(room, request("a", parts, ends=ends))
    assert isinstance(failed, fault)
    assert read_together(room, request("a", [b"y" * 100])) == [b"y" * 100]
