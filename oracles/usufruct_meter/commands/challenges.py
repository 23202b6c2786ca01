"""usufruct-meter challenges: what lanes are charged with, and the answers a running meter gives itself."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from usufruct_protocol.errors import UsufructError

from usufruct_meter.chain.challenges import ChallengeWatch, answer_to
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.views import OpenChallenge
from usufruct_meter.commands.console import NEEDS_A_PERSON, add_command, show
from usufruct_meter.lanes.ack_book import AckBook, ack_book_path
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.spool_reader import SpoolReader


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "list open challenges against lanes, and answer them"
    parser = add_command(commands, "challenges", _challenges, text, location=True)
    parser.add_argument("--answer", action="store_true", help="send the answers; the payer pays for gas")
    parser.add_argument("--timeout", type=float, default=240.0, metavar="SECONDS", help="per answer (240)")


def _challenges(options: argparse.Namespace) -> int:
    found = []
    for path in lane_files(options.lane):
        found += _of_lane(LaneFile.load(path), options)
    show(options, found)
    return NEEDS_A_PERSON if any(not one["is_answered"] for one in found) else 0


def _of_lane(file: LaneFile, options: argparse.Namespace) -> list[dict[str, Any]]:
    acks = AckBook(ack_book_path(file.spool), file.lane, b"", file.periods, len(file.nodes))
    with LaneChain.of(file) as chain, closing(SpoolReader.open(file.spool)) as reader, closing(acks):
        return [
            _described(file, challenge) | _answered(challenge, chain, reader, acks, options)
            for challenge in ChallengeWatch(chain).open()
        ]


def _described(file: LaneFile, challenge: OpenChallenge) -> dict[str, Any]:
    return {
        "lane_file": str(file.path),
        "challenge": challenge.challenge_id,
        "kind": challenge.kind.name.lower(),
        "seq": challenge.seq,
        "answerable_until_s": challenge.answerable_until_s,
    }


def _answered(
    challenge: OpenChallenge,
    chain: LaneChain,
    reader: SpoolReader,
    acks: AckBook,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Whether it could be answered, and is now. One that cannot be must not keep others from it."""
    try:
        errand = answer_to(challenge, chain, reader, acks)
        if options.answer:
            chain.payer().run(errand, wait_s=options.timeout)
    except UsufructError as error:
        return {"can_answer": False, "is_answered": False, "error": str(error), "hint": error.hint}
    return {"can_answer": True, "is_answered": bool(options.answer), "error": None, "hint": ""}
