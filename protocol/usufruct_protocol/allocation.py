"""Divide a pot by weights, exactly: one rounding per share, and the parts sum to the pot.

Source: docs/spec.md, allocation
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import compress, count, islice
from typing import Final

from usufruct_protocol.errors import InputRejected, InvariantBroken

_SAMPLE_SIZE: Final = 4096
_SAMPLE_MARGIN: Final = 128


def floor_parts(pot: int, weights: Sequence[int]) -> list[int]:
    """Return ⌊pot × weight ÷ sum of weights⌋ for each weight.

    Units:  pot and parts in one unit, whichever; weights relative.
    Raises: InputRejected if the pot or a weight is negative, or no weight is positive.
    """
    total_weight = _check(pot, weights)
    return [pot * weight // total_weight for weight in weights]


def allocate(pot: int, weights: Sequence[int], references: Sequence[bytes] | None = None) -> list[int]:
    """Split a pot by weight with the largest-remainder method; the parts sum to the pot exactly.

    Shapes:   n >= 1 weights; returns n parts in the same order. `references` names each weight; without it
              the weights must already be in roster order, ascending by (sha256(reference), reference).
    Units:    pot and parts in accrual units (10⁻⁹ base unit); weights relative.
    Rounding: down; then one unit more for each of the largest remainders until the pot is used up, ties in
              roster order. A weight of zero gets nothing. With references the result for each of them does
              not depend on the order of the input.
    Raises:   InputRejected if the pot or a weight is negative, no weight is positive, or references repeat or
              differ in number; InvariantBroken if the parts do not sum to the pot.
    """
    total_weight = _check(pot, weights)
    if references is None:
        return _allocate_in_order(pot, weights, total_weight)
    if len(references) != len(weights):
        raise InputRejected(f"{len(weights)} weights need as many references, got {len(references)}")
    if len(set(references)) != len(references):
        raise InputRejected("a reference occurs twice", hint="add up the weights of each reference first")
    order = sorted(
        range(len(weights)), key=lambda each: (sha256(references[each]).digest(), references[each])
    )
    parts = [0] * len(weights)
    in_order = _allocate_in_order(pot, [weights[each] for each in order], total_weight)
    for position, part in zip(order, in_order, strict=True):
        parts[position] = part
    return parts


def _allocate_in_order(pot: int, weights: Sequence[int], total_weight: int) -> list[int]:
    products = [pot * weight for weight in weights]
    parts = [product // total_weight for product in products]
    leftover = pot - sum(parts)
    if leftover:
        remainders = [product % total_weight for product in products]
        for position in _largest(remainders, leftover):
            parts[position] += 1
    if sum(parts) != pot:
        raise InvariantBroken(f"parts sum to {sum(parts)}, not to the pot of {pot}")
    return parts


def _largest(remainders: list[int], wanted: int) -> list[int]:
    """Return the positions of the `wanted` largest remainders, the earlier of equal ones first.

    Nothing is sorted but what lies near the threshold: sorting a million pairs takes most of a second longer.
    """
    threshold, above = _threshold(remainders, wanted)
    positions = list(compress(count(), map(threshold.__lt__, remainders)))
    ties = compress(count(), map(threshold.__eq__, remainders))
    return positions + list(islice(ties, wanted - above))


def _threshold(remainders: list[int], wanted: int) -> tuple[int, int]:
    """Return the `wanted`-th largest remainder, and how many are larger than it.

    A sample in fixed strides brackets the threshold; only what falls into the bracket is sorted. A bracket
    that misses, as with an adversarial order, costs a full sort and changes no result.
    """
    stride = max(1, len(remainders) // _SAMPLE_SIZE)
    sample = sorted(remainders[::stride], reverse=True)
    at = wanted // stride
    ceiling = sample[at - _SAMPLE_MARGIN] if at >= _SAMPLE_MARGIN else max(remainders)
    floor = sample[at + _SAMPLE_MARGIN] if at + _SAMPLE_MARGIN < len(sample) else min(remainders)
    above = sum(map(ceiling.__lt__, remainders))
    bracket = sorted((each for each in remainders if floor <= each <= ceiling), reverse=True)
    if not above < wanted <= above + len(bracket):
        above, bracket = 0, sorted(remainders, reverse=True)
    threshold = bracket[wanted - above - 1]
    return threshold, above + bracket.index(threshold)


def _check(pot: int, weights: Sequence[int]) -> int:
    """Return the sum of the weights. Raises: InputRejected."""
    if pot < 0:
        raise InputRejected(f"pot must be >= 0, got {pot}")
    if weights and min(weights) < 0:
        raise InputRejected(f"weight {min(weights)} at position {weights.index(min(weights))} is negative")
    total_weight = sum(weights)
    if type(pot) is not int or type(total_weight) is not int:
        raise InputRejected("pot and weights must be integers")  # one float would make the sum a float
    if total_weight == 0:
        raise InputRejected(
            f"{len(weights)} weights sum to zero: there is nobody to pay",
            hint="a license without weights is not charged; its units stay due",
        )
    return total_weight
