"""OpenTelemetry: receipts written on spans, or made from GenAI spans. Needs `usufruct[otel]`.

    provider.add_span_processor(UsufructSpanProcessor("lanes/", mode="annotate"))

"annotate" counts nothing: it writes the receipts that a gateway of this process signs on the span that is
current then. "bill" meters GenAI spans, and must be asked for, because spans are made to be dropped: it
demands a sampler that drops none, and an answer whose span cannot be counted fails.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from usufruct_protocol.errors import ConfigInvalid

from usufruct_meter.errors import UnitsMissing
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.meter import Meter
from usufruct_meter.observers import observe
from usufruct_meter.signed_receipt import SignedReceipt

SpanUnits = Callable[[Mapping[str, Any]], int]
"""Units of a GenAI span from its attributes."""

_OPERATIONS: Final = frozenset(("chat", "text_completion", "generate_content", "embeddings"))
"""Calls of a model. Spans around them (agents, tools, workflows) sum up what was metered already."""
_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_MODES: Final = ("annotate", "bill")


def span_tokens(attributes: Mapping[str, Any]) -> int:
    """Input plus output tokens by the GenAI conventions; embeddings have no output. Raises: UnitsMissing."""
    taken, given = _first(attributes, _INPUT), _first(attributes, _OUTPUT)
    if taken is None or (given is None and attributes.get("gen_ai.operation.name") != "embeddings"):
        raise UnitsMissing(
            "a GenAI span reports no tokens, so its call cannot be counted",
            hint="the instrumentation must set gen_ai.usage.input_tokens and gen_ai.usage.output_tokens",
        )
    return taken + (given or 0)


def span_calls(attributes: Mapping[str, Any]) -> int:
    """One unit per call of a model."""
    return 1


class UsufructSpanProcessor(SpanProcessor):
    """Writes receipts on spans, or bills from spans.

    lane:       a lane file or a folder; only "bill" opens a lane, which no gateway may then have open
    provider:   for "bill", the provider that this is added to: its sampler must keep every span
    units:      for "bill", what a span counts; `span_tokens` or `span_calls`, or your own
    on_receipt: for "bill", told (span, receipt): the way to give the caller its receipt
    Rules of "bill": a span with status ERROR is a failed call and gets no receipt; spans with one
    gen_ai.response.id are one call; a span that cannot be counted raises where it ends, inside the app.
    Raises: ConfigInvalid for a bad mode or lane, and for a sampler that may drop spans.
    """

    def __init__(
        self,
        lane: Path | str,
        *,
        mode: str = "annotate",
        provider: TracerProvider | None = None,
        units: SpanUnits = span_tokens,
        on_receipt: Callable[[ReadableSpan, SignedReceipt], object] | None = None,
    ) -> None:
        if mode not in _MODES:
            raise ConfigInvalid(f"mode must be 'annotate' or 'bill', got {mode!r}")
        self._units = units
        self._on_receipt = on_receipt
        self._meter: Meter | None = None
        self._stop_observing: Callable[[], None] = lambda: None
        if mode == "bill":
            _check_sampler(provider)
            self._meter = Meter.open(lane)
            atexit.register(self._meter.close)
        else:
            self._lanes = frozenset(LaneFile.load(path).lane for path in lane_files(lane))
            self._stop_observing = observe(self._annotate)

    def on_end(self, span: ReadableSpan) -> None:
        """Meter a GenAI span. Raises: UnitsMissing, and as `Lane.meter`: then its call fails in the app."""
        attributes = span.attributes or {}
        if self._meter is None or attributes.get("gen_ai.operation.name") not in _OPERATIONS:
            return
        if span.status.status_code is trace.StatusCode.ERROR:
            return
        context = span.get_span_context()
        if context is None:
            raise UnitsMissing("a span without a context cannot be told from others")
        name = f"{context.trace_id:032x}:{context.span_id:016x}"
        signed = self._meter.meter(
            self._units(attributes),
            request=name.encode("ascii"),
            response_id=f"otel:{attributes.get('gen_ai.response.id') or name}",
        )
        if self._on_receipt is not None:
            self._on_receipt(span, signed)

    def shutdown(self) -> None:
        """Ship what is left and give the lane back."""
        self._stop_observing()
        if self._meter is not None:
            atexit.unregister(self._meter.close)
            self._meter.close()

    def _annotate(self, signed: SignedReceipt) -> None:
        span = trace.get_current_span()
        if signed.receipt.lane not in self._lanes or not span.is_recording():
            return
        found: dict[str, str | int] = {
            "usufruct.lane": f"0x{signed.receipt.lane.hex()}",
            "usufruct.seq": signed.receipt.seq,
            "usufruct.units": signed.receipt.units,
        }
        span.set_attributes(found)
        span.add_event("usufruct.receipt", {**found, "usufruct.receipt": signed.text})


def _check_sampler(provider: TracerProvider | None) -> None:
    """Refuse all but ALWAYS_ON: the default one, too, drops what a remote parent has not sampled."""
    sampler = None if provider is None else provider.sampler
    if isinstance(sampler, StaticSampler) and _keeps_all(sampler):
        return
    found = "no provider given" if sampler is None else sampler.get_description()
    raise ConfigInvalid(
        f"billing from spans needs a sampler that drops none: {found}",
        hint="TracerProvider(sampler=ALWAYS_ON), and provider=…; or meter in the path: Meter.asgi",
    )


def _keeps_all(sampler: StaticSampler) -> bool:
    return sampler.should_sample(None, 0, "").decision is Decision.RECORD_AND_SAMPLE


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = attributes.get(name)
        if type(value) is int and value >= 0:
            return value
    return None
