"""What the contracts say about a lane, each answer at the hash of one block.

Only the settlement's address is configured; its neighbors name each other:

    settlement → committee
               → escrow → registry → challenges → anchors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.periods import fault_bound
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import checksum_address
from usufruct_protocol.terms import LaneRegistration

from usufruct_meter.chain.abi import WORD, address, number, selector, static, uint
from usufruct_meter.chain.block_clock import BlockClock
from usufruct_meter.chain.rpc import ChainUnavailable, Endpoint, data, quantity
from usufruct_meter.clock.reading import elapsed_ms

Answer = TypeVar("Answer")

_LICENSE_WORDS: Final = 13
_CHALLENGE_WORDS: Final = 11
_MAX_SIGNERS: Final = 255
_MAX_VERSIONS_AHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block that an endpoint knows."""

    block_hash: str
    number: int
    time_s: int
    base_fee_wei: int


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The contracts around a settlement that a meter has to do with, and what never changes in them."""

    committee: bytes
    registry: bytes
    challenges: bytes
    anchors: bytes
    merge_delay_s: int
    epoch_seconds: int


@dataclass(frozen=True, slots=True)
class CommitteeVersion:
    """Signers who judge, or will judge, reports from an epoch on."""

    version: int
    signers: frozenset[bytes]
    from_epoch: int

    @property
    def acks_needed(self) -> int:
        """f + 1: one of so many is honest."""
        return fault_bound(len(self.signers)) + 1


@dataclass(frozen=True, slots=True)
class LaneOnChain:
    """A lane as it is registered. `revoked_at_s` is 0 unless it was proven to cheat."""

    number: int
    registration: LaneRegistration
    revoked_at_s: int


class ChallengeKind(IntEnum):
    """What a lane is charged with: as in `IUsageChallenges.Kind`."""

    BEYOND_COUNT = 1
    SWAPPED = 2


@dataclass(frozen=True, slots=True)
class OpenChallenge:
    """A charge against a lane: a finalized report leaves receipt `seq` out, or a checkpoint over `count`
    receipts does not hold it as leaf `seq`."""

    challenge_id: int
    kind: ChallengeKind
    lane_number: int
    seq: int
    answerable_until_s: int
    period_end_s: int
    signer_set_version: int
    count: int
    receipt_hash: bytes
    receipts_root: bytes


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What decides whether a lane's receipts are covered, all of one block."""

    head: Head
    merge_delay_s: int
    anchor: Checkpoint
    committees: tuple[CommitteeVersion, ...]


class ChainView:
    """One endpoint's view of one settlement. Methods raise ChainUnavailable, or ConfigInvalid for good."""

    def __init__(self, endpoint: Endpoint, settlement: bytes) -> None:
        self.endpoint = endpoint
        self.clock = BlockClock()
        self._settlement = settlement
        self._neighbors: Neighbors | None = None

    def head(self) -> Head:
        """Return the newest block."""
        asked_ms = elapsed_ms()
        block = self.endpoint.request("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict):
            raise ChainUnavailable(f"{self.endpoint.name} knows no block")
        head = Head(
            str(block.get("hash")),
            quantity(block.get("number")),
            quantity(block.get("timestamp")),
            quantity(block.get("baseFeePerGas") or "0x0"),
        )
        self.clock.saw(head.number, head.time_s, asked_ms, elapsed_ms())
        return head

    def neighbors(self) -> Neighbors:
        """Return the contracts around the settlement; asked for once.

        Raises: ConfigInvalid if the settlement's address is none, or an anchor contract of another one.
        """
        if self._neighbors is None:
            at = self.head().block_hash
            escrow = self._address_at(self._settlement, "escrow()", at)
            registry = self._address_at(escrow, "registry()", at)
            challenges = self._address_at(registry, "challenges()", at)
            anchors = self._address_at(challenges, "anchors()", at)
            if self._address_at(anchors, "settlement()", at) != self._settlement:
                raise ConfigInvalid(
                    f"the anchors at {checksum_address(anchors)} belong to another settlement than the lane's"
                )
            self._neighbors = Neighbors(
                committee=self._address_at(self._settlement, "committee()", at),
                registry=registry,
                challenges=challenges,
                anchors=anchors,
                merge_delay_s=self._number_at(escrow, "maxMergeDelaySeconds()", at),
                epoch_seconds=self._number_at(self._settlement, "epochSeconds()", at),
            )
        return self._neighbors

    def lane(self, lane: bytes) -> LaneOnChain | None:
        """Return the registration of a lane, or None if it has none."""
        registry, at = self.neighbors().registry, self.head().block_hash
        registered, lane_number = self._call(registry, "laneNumberOf(address)", at, [lane], words=2)
        if not any(registered):
            return None
        words = self._call(registry, "laneAt(uint32)", at, [lane_number], words=5)
        (revoked_at,) = self._call(registry, "laneRevokedAt(uint32)", at, [lane_number], words=1)
        license_id, valid_from, valid_to, cap = map(number, words[1:])
        registration = LaneRegistration(address(words[0]), license_id, valid_from, valid_to, cap)
        return LaneOnChain(number(lane_number), registration, number(revoked_at))

    def anchor(self, lane: bytes, head: Head) -> Checkpoint:
        """Return the highest checkpoint of a lane that was anchored by a block; count 0 if there is none."""
        words = self._call(
            self.neighbors().anchors,
            "anchorAt(address,uint256)",
            head.block_hash,
            [lane, uint(head.time_s)],
            words=4,
        )
        return Checkpoint(lane, number(words[1]), number(words[2]), words[3])

    def facts(self, lane: bytes) -> ChainFacts:
        """Return what decides whether a lane's receipts are covered."""
        neighbors, head = self.neighbors(), self.head()
        anchor = self.anchor(lane, head)
        return ChainFacts(head, neighbors.merge_delay_s, anchor, self._committees(head))

    def genesis_s(self) -> int:
        """Return when the first period began: period ends lie on a grid."""
        words = self._call(self._settlement, "state()", self.head().block_hash, words=7)
        last_epoch, last_period_end_s = map(number, words[:2])
        return last_period_end_s - last_epoch * self.neighbors().epoch_seconds

    def license_ends_s(self, license_id: int) -> int:
        """Return when a license ends, as things stand. Raises: ConfigInvalid if there is no such license."""
        call = "license(uint32)"
        words = self._call(
            self.neighbors().registry, call, self.head().block_hash, [uint(license_id)], words=_LICENSE_WORDS
        )
        if not any(words[0]):
            raise ConfigInvalid(f"there is no license {license_id}", hint="licenses count from 1")
        return number(words[2])

    def last_epoch(self) -> int:
        """Return the last finalized epoch; 0 if there is none."""
        words = self._call(self._settlement, "state()", self.head().block_hash, words=7)
        return number(words[0])

    def report_hash(self, epoch: int) -> bytes | None:
        """Return the hash of a finalized epoch's report, or None while there is none."""
        at = self.head().block_hash
        (found,) = self._call(self._settlement, "reportHash(uint64)", at, [uint(epoch)], words=1)
        return found if any(found) else None

    def challenge_count(self, at: str) -> int:
        """Return how many challenges were ever opened; they are numbered from 1."""
        return self._number_at(self.neighbors().challenges, "challengeCount()", at)

    def challenge(self, challenge_id: int) -> OpenChallenge | None:
        """Return a challenge that waits for its answer, or None if it waits no more."""
        words = self._call(
            self.neighbors().challenges,
            "challenge(uint256)",
            self.head().block_hash,
            [uint(challenge_id)],
            words=_CHALLENGE_WORDS,
        )
        until_s, lane_number, kind, seq, _, period_end_s, version, count = map(number, words[1:9])
        if kind == 0:
            return None
        return OpenChallenge(
            challenge_id=challenge_id,
            kind=ChallengeKind(kind),
            lane_number=lane_number,
            seq=seq,
            answerable_until_s=until_s,
            period_end_s=period_end_s,
            signer_set_version=version,
            count=count,
            receipt_hash=words[9],
            receipts_root=words[10],
        )

    def committee_of(self, version: int) -> frozenset[bytes]:
        """Return the signers of a version."""
        return self._signers(self.neighbors().committee, version, self.head().block_hash)[0]

    def _committees(self, head: Head) -> tuple[CommitteeVersion, ...]:
        """The version that governs the open epoch, and those announced for later ones."""
        committee, at = self.neighbors().committee, head.block_hash
        open_epoch = number(self._call(self._settlement, "state()", at, words=7)[0]) + 1
        current = self._version_for(committee, open_epoch, at)
        latest = self._number_at(committee, "latestVersion()", at)
        found = []
        for version in range(current, min(latest, current + _MAX_VERSIONS_AHEAD) + 1):
            signers, from_epoch = self._signers(committee, version, at)
            is_replaced = version > current and self._version_for(committee, from_epoch, at) != version
            if not is_replaced:
                found.append(CommitteeVersion(version, signers, from_epoch))
        return tuple(found)

    def _version_for(self, committee: bytes, epoch: int, at: str) -> int:
        return number(self._call(committee, "versionFor(uint64)", at, [uint(epoch)], words=1)[0])

    def _signers(self, committee: bytes, version: int, at: str) -> tuple[frozenset[bytes], int]:
        words = self._call(committee, "signersOf(uint32)", at, [uint(version)])
        count = number(words[2]) if len(words) > 3 else 0
        if not 4 <= count <= _MAX_SIGNERS or len(words) != 3 + count:
            raise ChainUnavailable(f"{self.endpoint.name} gives no signers of version {version}")
        return frozenset(map(address, words[3:])), number(words[1])

    def _number_at(self, contract: bytes, function: str, at: str) -> int:
        return number(self._call(contract, function, at, words=1)[0])

    def _address_at(self, contract: bytes, function: str, at: str) -> bytes:
        found = address(self._call(contract, function, at, words=1)[0])
        if not any(found):
            raise ConfigInvalid(f"{function} of {checksum_address(contract)} is the zero address")
        return found

    def _call(
        self,
        contract: bytes,
        function: str,
        at: str,
        arguments: Sequence[bytes] = (),
        *,
        words: int | None = None,
    ) -> list[bytes]:
        """Call a view function; returns its answer in words of 32 bytes."""
        call_data = selector(function) + static(*arguments)
        request = {"to": checksum_address(contract), "data": "0x" + call_data.hex()}
        answer = data(self.endpoint.request("eth_call", request, {"blockHash": at}))
        if not answer:
            raise ConfigInvalid(
                f"there is no contract with {function} at {checksum_address(contract)}",
                hint="are settlement and chain_id right in the lane file?",
            )
        if len(answer) % WORD or (words is not None and len(answer) != words * WORD):
            raise ChainUnavailable(f"{self.endpoint.name} gives a malformed answer to {function}")
        return [answer[start : start + WORD] for start in range(0, len(answer), WORD)]


def each(views: Sequence[ChainView], ask: Callable[[ChainView], Answer]) -> list[Answer]:
    """Ask every endpoint; returns what those say that answer. Raises: ChainUnavailable if none does."""
    found: list[Answer] = []
    last: ChainUnavailable | None = None
    for view in views:
        try:
            found.append(ask(view))
        except ChainUnavailable as error:
            last = error
    if not found:
        raise last or ChainUnavailable("no endpoint is configured")
    return found
