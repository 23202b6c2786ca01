"""Requests between nodes: only current signers, only for this node, this path, this minute."""

from __future__ import annotations

import pytest
from usufruct_oracle.peers.auth import HEADER, MAX_AGE_S, NotAPeer, PeerAuth
from usufruct_protocol.signing import LocalSigner, address_of

from tests.unit.oracle.lane_kit import DOMAIN

ALICE, BOB, EVE = (bytes([number]) * 32 for number in (1, 2, 3))
PATH = "/v1/lanes/0x00/batches?from_seq=1&to_count=5"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def auth(key: bytes | None, clock: Clock, domain: bytes = DOMAIN) -> PeerAuth:
    own = bytes(20) if key is None else address_of(key)
    signer = None if key is None else LocalSigner(key)
    return PeerAuth(domain, own, signer, lambda: {address_of(ALICE), address_of(BOB)}, clock)


def test_a_signer_is_let_in() -> None:
    clock = Clock()
    header = auth(ALICE, clock).header(address_of(BOB), "GET", PATH)
    assert auth(BOB, clock).check(header[HEADER], "GET", PATH) == address_of(ALICE)
    clock.now += MAX_AGE_S
    assert auth(BOB, clock).check(header[HEADER], "GET", PATH) == address_of(ALICE)


@pytest.mark.parametrize("seconds", [-MAX_AGE_S - 2, MAX_AGE_S + 2])
def test_a_header_of_another_time_is_refused(seconds: int) -> None:
    clock = Clock()
    header = auth(ALICE, clock).header(address_of(BOB), "GET", PATH)[HEADER]
    clock.now += seconds
    with pytest.raises(NotAPeer, match="another time"):
        auth(BOB, clock).check(header, "GET", PATH)


def test_a_header_for_something_else_is_refused() -> None:
    clock = Clock()
    bob = auth(BOB, clock)
    good = auth(ALICE, clock).header(address_of(BOB), "GET", PATH)[HEADER]
    for header, method, path in (
        (good, "PUT", PATH),
        (good, "GET", PATH + "0"),
        (auth(ALICE, clock).header(address_of(EVE), "GET", PATH)[HEADER], "GET", PATH),
        (auth(ALICE, clock, bytes(32)).header(address_of(BOB), "GET", PATH)[HEADER], "GET", PATH),
        (good.replace(address_of(ALICE).hex(), address_of(BOB).hex()), "GET", PATH),
    ):
        with pytest.raises(NotAPeer, match="another request or by another key"):
            bob.check(header, method, path)


def test_who_is_no_signer_is_refused() -> None:
    clock = Clock()
    header = auth(EVE, clock).header(address_of(BOB), "GET", PATH)[HEADER]
    with pytest.raises(NotAPeer, match="not a signer"):
        auth(BOB, clock).check(header, "GET", PATH)
    assert auth(None, clock).header(address_of(BOB), "GET", PATH) == {}


@pytest.mark.parametrize(
    "header",
    [None, "", "1", "1 2", "x 0x00 0x00", "1000000 0xzz 0x00", "1000000 0x00 0x00 0x00", f"{10**400} 0x 0x"],
)
def test_garbage_is_refused(header: str | None) -> None:
    with pytest.raises(NotAPeer):
        auth(BOB, Clock()).check(header, "GET", PATH)


@pytest.mark.parametrize("signature", ["", "00", "00" * 65, "ff" * 65, "00" * 1000])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    header = f"1000000 0x{address_of(ALICE).hex()} 0x{signature}"
    with pytest.raises(NotAPeer):
        auth(BOB, Clock()).check(header, "GET", PATH)
