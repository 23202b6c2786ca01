"""Recorded model calls: one row per call, in the columns of an OpenTelemetry GenAI export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_meter.importer.clock import MICROSECONDS_PER_MS, read_time_us
from usufruct_meter.importer.tables import Row, read_table

COLUMNS: Final = (
    "start_time_iso",
    "end_time_iso",
    "span_id",
    "response_id",
    "request_model",
    "response_model",
    "input_tokens",
    "output_tokens",
    "is_error",
)

# A receipt's units stay below 2**48, so each of two addends stays below half of that.
TOKENS_BELOW: Final = 1 << 47


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call that succeeded. Times in microseconds since 1970."""

    model: str
    started_us: int
    ended_us: int
    span_id: str
    response_id: str
    input_tokens: int
    output_tokens: int
    line: int

    @property
    def tokens(self) -> int:
        """Units of a token license: input plus output."""
        return self.input_tokens + self.output_tokens

    @property
    def issued_at_ms(self) -> int:
        """Receipt time: the end of the response, rounded down to a millisecond."""
        return self.ended_us // MICROSECONDS_PER_MS

    @property
    def replay_key(self) -> tuple[int, int, str]:
        """Order in which a trace is replayed."""
        return (self.ended_us, self.started_us, self.span_id)


@dataclass(frozen=True, slots=True)
class RecordedUsage:
    """A usage file: its billable calls in replay order, retries included, and how many rows were left out."""

    path: Path
    rows: int
    failed_rows: int
    zero_token_rows: int
    calls: tuple[RecordedCall, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that answered at least one billable call, by name."""
        return tuple(sorted({call.model for call in self.calls}))


def read_usage(path: Path) -> RecordedUsage:
    """Read a usage file whole, or not at all.

    A failed row (`is_error`) gives no receipt, whatever its tokens say, and is counted in `failed_rows`.
    Neither does a row without a single token, because a receipt of no units is void; it is counted in
    `zero_token_rows`.
    The model is the one that answered, or the one asked for where the answer names none.
    Raises: InputRejected naming file and line for a missing column or a bad row.
    Source: docs/spec.md, agreement rules 1, 2 and 8.
    """
    rows = failed = zero_token = 0
    calls = []
    for row in read_table(path, COLUMNS):
        rows += 1
        if row.flag("is_error"):
            failed += 1
        elif (call := _call(row)).tokens:
            calls.append(call)
        else:
            zero_token += 1
    calls.sort(key=lambda call: call.replay_key)
    return RecordedUsage(path, rows, failed, zero_token, tuple(calls))


def _call(row: Row) -> RecordedCall:
    started_us = read_time_us(row, "start_time_iso")
    ended_us = read_time_us(row, "end_time_iso")
    if ended_us < started_us:
        raise row.rejected("the call ends before it starts", "check the clocks that wrote the two times")
    return RecordedCall(
        model=row.text("response_model" if row.values["response_model"].strip() else "request_model"),
        started_us=started_us,
        ended_us=ended_us,
        span_id=row.text("span_id"),
        response_id=_response_id(row),
        input_tokens=row.whole_number("input_tokens", TOKENS_BELOW),
        output_tokens=row.whole_number("output_tokens", TOKENS_BELOW),
        line=row.line,
    )


def _response_id(row: Row) -> str:
    """Return what tells a retry from a new call; where no response was named, the span stands for it."""
    return row.values["response_id"] if row.values["response_id"].strip() else f"span:{row.text('span_id')}"
