"""What one unit is, for each kind of meter, and how an answer is counted.

| kind | one unit | counted from |
|---|---|---|
| inference (also "calls") | an answered call | the call |
| tokens | an input or output token | the app, else the usage that the answer reports |
| embedding | a vector returned | the app, else the `data` list of the answer |
| retrieval | an answered call, also when no record was used | the call |
| fine_tune, training | one record in one pass | the app: `call.ran_over(records, passes)` |

What the app says in `call.units` comes before everything else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from usufruct_protocol.errors import ConfigInvalid

from usufruct_meter.call import Call
from usufruct_meter.counting.tokens import TokenTally
from usufruct_meter.errors import UnitsMissing

_logger = logging.getLogger(__name__)

UnitsRule = Callable[[Call, bytes], int]
"""Units of a call from what the app said and the body it answered. Raises: UnitsMissing, or what it likes."""


class StreamCounter(Protocol):
    """Counts one answer that is sent while it is made. Made anew for each."""

    def feed(self, event: bytes) -> None:
        """Take one event of the stream, as it is sent."""

    def so_far(self) -> int:
        """Return the units that the events so far stand for, or fewer: never more than `total` will say."""

    def total(self) -> int:
        """Return the units of the answer, which has ended. It is delivered, so this never fails."""


@dataclass(frozen=True, slots=True)
class CountingRule:
    """How a kind of meter counts. Without `stream`, answers are held until they are whole."""

    whole: UnitsRule
    stream: Callable[[Call], StreamCounter] | None = None


def count_calls(call: Call, body: bytes) -> int:
    """One unit per answered call, unless the app says otherwise; also when nothing was used."""
    return 1 if call.units is None else call.units


def count_tokens(call: Call, body: bytes) -> int:
    """Input plus output tokens: what the app says, else what the answer reports. Raises: UnitsMissing."""
    if call.units is not None:
        return call.units
    tally = TokenTally()
    tally.read(body)
    reported = tally.reported()
    if reported is None:
        raise UnitsMissing("the answer carries no token usage", hint=_SAY_UNITS)
    return reported


def count_vectors(call: Call, body: bytes) -> int:
    """Vectors returned: what the app says, else the list in an OpenAI-style answer. Raises: UnitsMissing."""
    if call.units is not None:
        return call.units
    try:
        data = json.loads(body)["data"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UnitsMissing("the answer carries no list of vectors", hint=_SAY_UNITS) from error
    if not isinstance(data, list):
        raise UnitsMissing("the answer carries no list of vectors", hint=_SAY_UNITS)
    return len(data)


def count_record_passes(call: Call, body: bytes) -> int:
    """Records × passes, which only the app knows. Raises: UnitsMissing."""
    if call.units is None:
        raise UnitsMissing(
            "nothing says over how many records this ran", hint="call.ran_over(records, passes)"
        )
    return call.units


class _SaidByApp:
    """Counts a stream by what the app says while it sends; `first` units until it says anything."""

    def __init__(self, call: Call, first: int) -> None:
        self._call = call
        self._first = first

    def feed(self, event: bytes) -> None:
        pass

    def so_far(self) -> int:
        return self._first if self._call.units is None else self._call.units

    def total(self) -> int:
        return self.so_far()


class _TokenStream:
    """Counts the tokens of a stream by what it reports, event by event."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tally = TokenTally()

    def feed(self, event: bytes) -> None:
        if self._call.units is None:
            self._tally.read(event_data(event))

    def so_far(self) -> int:
        return self._tally.delivered() if self._call.units is None else self._call.units

    def total(self) -> int:
        if self._call.units is not None:
            return self._call.units
        reported = self._tally.reported()
        if reported is None:
            _logger.warning(
                "a stream ended without reporting its tokens; counted one per text event: %d. OpenAI-style "
                'servers report them for "stream_options": {"include_usage": true}',
                self._tally.delivered(),
            )
            return self._tally.delivered()
        return reported


def event_data(event: bytes) -> bytes:
    """Return what a server-sent event carries; a line of JSON carries itself."""
    data = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(data) if data else event


_SAY_UNITS: Final = 'set scope["usufruct"].units in the app'

_PER_CALL: Final = CountingRule(count_calls, lambda call: _SaidByApp(call, 1))
_PER_RECORD: Final = CountingRule(count_record_passes, lambda call: _SaidByApp(call, 0))
RULES: Final[dict[str, CountingRule]] = {
    "calls": _PER_CALL,
    "inference": _PER_CALL,
    "retrieval": _PER_CALL,
    "tokens": CountingRule(count_tokens, _TokenStream),
    "embedding": CountingRule(count_vectors),
    "fine_tune": _PER_RECORD,
    "training": _PER_RECORD,
}


def counting_rule(units: str | UnitsRule | CountingRule | Any) -> CountingRule:
    """Return the rule that a name stands for, or one made of a function. Raises: ConfigInvalid."""
    if isinstance(units, CountingRule):
        return units
    if callable(units):
        return CountingRule(units)
    if units not in RULES:
        raise ConfigInvalid(f"units must be one of {', '.join(RULES)}, or a function; got {units!r}")
    return RULES[units]
