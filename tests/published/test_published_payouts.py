"""The floor step of allocation against a payout that happened: Audius, 2020, 50,000,000 tokens by score.

Published with each row: tokens = ⌊score ÷ total_score × 50,000,000⌋. Only every other row of the payout is in
the file; the rest of the total score stands in as one more weight.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from usufruct_protocol.allocation import allocate, floor_parts

POT = 50_000_000
DECIMALS = 4


def scaled(text: str) -> int:
    """A decimal string with at most four digits after the point, as an exact integer."""
    whole, _, fraction = text.partition(".")
    assert len(fraction) <= DECIMALS
    return int(whole) * 10**DECIMALS + int(fraction.ljust(DECIMALS, "0"))


@pytest.fixture(scope="module")
def claims(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "payouts" / "audius_2020_claims.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def weights(claims: list[dict[str, str]]) -> list[int]:
    """The scores of the file, then everybody else's together."""
    (total,) = {scaled(row["total_score"]) for row in claims}
    scores = [scaled(row["score"]) for row in claims]
    return [*scores, total - sum(scores)]


def test_floor_parts_are_the_published_tokens(
    claims: list[dict[str, str]], weights: list[int], shared_data: Path
) -> None:
    expected = json.loads((shared_data / "EXPECTED.json").read_text())["audius"]
    *parts, _ = floor_parts(POT, weights)
    assert parts == [int(row["tokens"]) for row in claims]
    assert (len(parts), sum(parts)) == (expected["payees"], expected["sum_tokens"])


def test_largest_remainders_add_one_token_at_most_and_lose_none(weights: list[int]) -> None:
    floors, parts = floor_parts(POT, weights), allocate(POT, weights)
    assert sum(parts) == POT
    assert {part - floor for part, floor in zip(parts, floors, strict=True)} == {0, 1}
