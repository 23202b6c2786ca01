"""What a buyer's gateway may have to bring about on chain: anchors, and answers to challenges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from usufruct_protocol.receipts import Checkpoint

from usufruct_meter.chain.abi import WORD, array, checkpoint, dynamic_bytes, selector, static, uint
from usufruct_meter.chain.payer import Errand
from usufruct_meter.lanes.ack_book import Answer

_ANCHOR: Final = selector("anchor((address,uint64,uint128,bytes32),bytes)")
_BY_ACKS: Final = selector("answerByAcks(uint256,((address,uint64,uint128,bytes32),bytes),(uint64,bytes)[])")
_BY_INCLUSION: Final = selector("answerByInclusion(uint256,bytes32[])")
_ANCHOR_GAS: Final = 400_000
_ANSWER_GAS: Final = 3_000_000
"""Of the largest committee, f + 1 signatures are recovered."""

_ANCHOR_REFUSALS: Final[Mapping[bytes, tuple[str, str | None]]] = {
    selector(text): (text.partition("(")[0], hint)
    for text, hint in (
        ("CheckpointAnchors_UnknownLane(address)", "register the lane, or is it another deployment's?"),
        ("CheckpointAnchors_LaneRevoked(address,uint48)", "start a new lane: usufruct-meter lane new"),
        ("CheckpointAnchors_CountNotHigher(address,uint64,uint64)", None),
        ("CheckpointAnchors_UnitsFell(address,uint128,uint128)", "the spool is not what the lane signed"),
        ("CheckpointAnchors_OverUnitCap(address,uint128,uint128)", "start a new lane with a higher cap"),
    )
}
_ANSWER_REFUSALS: Final[Mapping[bytes, tuple[str, str | None]]] = {
    selector("UsageChallenges_WrongKind(uint256,uint8)"): ("UsageChallenges_WrongKind", None),
}


def anchor_errand(point: Checkpoint, lane_signature: bytes) -> Errand:
    """Have a checkpoint, or a higher one of its lane, anchored."""
    body = checkpoint(point) + uint(5 * WORD) + dynamic_bytes(lane_signature)
    return Errand(
        what=f"an anchor of {point.count} receipts",
        to=lambda view: view.neighbors().anchors,
        call_data=_ANCHOR + body,
        is_done=lambda view: view.anchor(point.lane, view.head()).count >= point.count,
        max_gas=_ANCHOR_GAS,
        refusals=_ANCHOR_REFUSALS,
    )


def acks_errand(challenge_id: int, answer: Answer) -> Errand:
    """Answer that a receipt was hidden: so many signers had acknowledged a checkpoint over it."""
    covering = checkpoint(answer.checkpoint) + uint(5 * WORD) + dynamic_bytes(answer.lane_signature)
    acks = array(
        [static(uint(ack.received_at), uint(2 * WORD)) + dynamic_bytes(ack.signature) for ack in answer.acks]
    )
    head = static(uint(challenge_id), uint(3 * WORD), uint(3 * WORD + len(covering)))
    return _answer_errand(challenge_id, _BY_ACKS + head + covering + acks)


def inclusion_errand(challenge_id: int, siblings: Sequence[bytes]) -> Errand:
    """Answer that a receipt was swapped: it is the leaf at its seq."""
    body = static(uint(challenge_id), uint(2 * WORD), uint(len(siblings))) + b"".join(siblings)
    return _answer_errand(challenge_id, _BY_INCLUSION + body)


def _answer_errand(challenge_id: int, call_data: bytes) -> Errand:
    return Errand(
        what=f"the answer to challenge {challenge_id}",
        to=lambda view: view.neighbors().challenges,
        call_data=call_data,
        is_done=lambda view: view.challenge(challenge_id) is None,
        max_gas=_ANSWER_GAS,
        refusals=_ANSWER_REFUSALS,
    )
