"""What an app tells the meter while it answers a call: `scope["usufruct"]`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.money import check_uint

from usufruct_meter.draft import MAX_USAGE_ENTRIES
from usufruct_meter.errors import UnitsMissing

_TOKEN_FIELDS: Final = (
    ("total_tokens",),
    ("prompt_tokens", "completion_tokens"),
    ("input_tokens", "output_tokens"),
)
_TOKENS_HINT: Final = 'set scope["usufruct"].units in the app'

UnitsRule = Callable[["Call", bytes], int]
"""Units of a call from what the app said and the body it answered."""


class Call:
    """One call that is being answered.

    units: what the call takes, if the app knows; None leaves it to the middleware's rule
    """

    __slots__ = ("_usage", "units")

    def __init__(self) -> None:
        self.units: int | None = None
        self._usage: list[tuple[bytes, int]] = []

    @property
    def usage(self) -> tuple[tuple[bytes, int], ...]:
        """The records that the answer used."""
        return tuple(self._usage)

    def use(self, record_tag: bytes, weight: int = 1) -> None:
        """Say that the answer used a record. Of repeats within a call the highest weight counts.

        Raises: InputRejected for a tag that is not 32 bytes, a weight outside 1 … 2³² − 1, or too many.
        """
        if not isinstance(record_tag, bytes) or len(record_tag) != 32:
            raise InputRejected(f"a record tag is 32 bytes, got {record_tag!r:.80}")
        if check_uint(weight, 32, "usage weight") == 0:
            raise InputRejected("weight 0: the record was not used, leave it out")
        if len(self._usage) >= MAX_USAGE_ENTRIES:
            raise InputRejected(f"a call uses at most {MAX_USAGE_ENTRIES} records")
        self._usage.append((record_tag, weight))


def count_calls(call: Call, body: bytes) -> int:
    """One unit per answered call, unless the app says otherwise; also when nothing was used."""
    return 1 if call.units is None else call.units


def count_tokens(call: Call, body: bytes) -> int:
    """Input plus output tokens: what the app says, else the `usage` object of an OpenAI-style JSON answer.

    Raises: UnitsMissing if neither says.
    """
    if call.units is not None:
        return call.units
    try:
        usage = json.loads(body)["usage"]
        for names in (
            ("total_tokens",),
            ("prompt_tokens", "completion_tokens"),
            ("input_tokens", "output_tokens"),
        ):
            if all(type(usage.get(name)) is int for name in names):
                return sum(usage[name] for name in names)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise UnitsMissing("the answer carries no token usage", hint=_TOKENS_HINT) from error
    raise UnitsMissing("the answer carries no token usage", hint=_TOKENS_HINT)


def units_rule(units: str | Any) -> UnitsRule:
    """Return the rule that a name stands for, or the callable itself. Raises: ConfigInvalid."""
    named: dict[str, UnitsRule] = {"calls": count_calls, "tokens": count_tokens}
    if callable(units):
        return units  # type: ignore[no-any-return]
    if units not in named:
        raise ConfigInvalid(f"units must be 'calls', 'tokens' or a function, got {units!r}")
    return named[units]
