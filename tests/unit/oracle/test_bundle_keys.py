"""Bundle keys are believed under their signer's signature, for a week, and for one deployment."""

from __future__ import annotations

import dataclasses
import json

import pytest
from usufruct_oracle.bundles.keys import VALID_S, Announcement, Announcing
from usufruct_oracle.bundles.sealing import SealingKey
from usufruct_oracle.wire_json import parse_object
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.signing import LocalSigner, address_of

from tests.unit.oracle.lane_kit import DOMAIN

KEY = b"\x01" * 32
SIGNER = address_of(KEY)
RECIPIENT = SealingKey.generate().recipient
NOW_S = 1_800_000_000.0
DAY_S = 86_400


class Signing:
    """Counts what it is asked, and fails while it is down."""

    address = SIGNER

    def __init__(self) -> None:
        self.asked = 0
        self.is_down = False

    def sign_digest(self, digest: bytes) -> bytes:
        self.asked += 1
        if self.is_down:
            raise Transient("no answer")
        return LocalSigner(KEY).sign_digest(digest)


@pytest.fixture
def announced() -> Announcement:
    return Announcing(DOMAIN, LocalSigner(KEY), RECIPIENT, lambda: NOW_S).current()


def test_an_announcement_is_read_back_and_believed(announced: Announcement) -> None:
    again = Announcement.from_json(parse_object(json.dumps(announced.to_json()), "bundle key"))
    assert again == announced
    for now_s in (NOW_S - 3_600, NOW_S, NOW_S + 7 * DAY_S):
        assert again.check(DOMAIN, SIGNER, now_s) == RECIPIENT


def test_what_is_old_bent_or_of_others_is_refused(announced: Announcement) -> None:
    other = SealingKey.generate().recipient
    for bent in (
        dataclasses.replace(announced, recipient=other),
        dataclasses.replace(announced, valid_until_s=announced.valid_until_s + 1),
        dataclasses.replace(announced, signature=LocalSigner(b"\x02" * 32).sign_digest(bytes(32))),
    ):
        with pytest.raises(InputRejected, match="is signed by"):
            bent.check(DOMAIN, SIGNER, NOW_S)
    with pytest.raises(InputRejected, match="is signed by"):
        announced.check(bytes(32), SIGNER, NOW_S)
    with pytest.raises(InputRejected, match="is signed by"):
        announced.check(DOMAIN, address_of(b"\x02" * 32), NOW_S)
    for now_s in (NOW_S - 3 * 3_600, NOW_S + VALID_S + 3 * 3_600):
        with pytest.raises(InputRejected, match="another time"):
            announced.check(DOMAIN, SIGNER, now_s)
    for change in ({"recipient": 5}, {"recipient": "age1x"}, {"valid_until_s": -1}, {"signature": None}):
        with pytest.raises(InputRejected):
            Announcement.from_json(parse_object(json.dumps({**announced.to_json(), **change}), "bundle key"))


def test_a_signer_is_asked_once_a_day_and_left_alone_while_it_is_down() -> None:
    signer, clock = Signing(), [NOW_S]
    announcing = Announcing(DOMAIN, signer, RECIPIENT, lambda: clock[0])
    signer.is_down = True
    for _ in range(5):
        with pytest.raises(Transient):
            announcing.current()
    assert signer.asked == 1
    signer.is_down = False
    clock[0] += 61
    first = announcing.current()
    clock[0] += DAY_S - 1
    assert announcing.current() == first
    clock[0] += 2
    assert announcing.current().valid_until_s == int(clock[0]) + VALID_S
    assert signer.asked == 3
