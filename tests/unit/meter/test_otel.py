"""Spans: annotated by default, billed only if asked for and only if none can be lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from usufruct_meter.errors import OutsideValidity, UnitsMissing
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.meter import Meter
from usufruct_meter.observers import observe
from usufruct_meter.otel import UsufructSpanProcessor, span_calls
from usufruct_meter.signed_receipt import SignedReceipt
from usufruct_protocol.errors import ConfigInvalid

from tests.unit.meter.lane_kit import new_lane
from tests.unit.meter.test_asgi import ask, routed, run
from tests.unit.meter.test_asgi_streams import stored_units
from tests.unit.meter.test_wsgi import ask as ask_wsgi
from tests.unit.meter.test_wsgi import hello

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 12,
}


@pytest.fixture
def file(tmp_path: Path) -> LaneFile:
    return new_lane(tmp_path / "lanes")


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    yield made
    made.shutdown()


def bill(provider: TracerProvider, file: LaneFile, **options: Any) -> list[SignedReceipt]:
    """Bill from the spans of a provider; returns the list that receipts will appear in."""
    receipts: list[SignedReceipt] = []
    provider.add_span_processor(
        UsufructSpanProcessor(
            file.path,
            mode="bill",
            provider=provider,
            on_receipt=lambda _, signed: receipts.append(signed),
            **options,
        )
    )
    return receipts


def call_model(provider: TracerProvider, **attributes: Any) -> None:
    with provider.get_tracer("test").start_as_current_span("chat gpt") as span:
        span.set_attributes({**CHAT, **attributes})


def test_a_billed_span_has_a_durable_receipt_when_it_ends(provider: TracerProvider, file: LaneFile) -> None:
    receipts = bill(provider, file)
    call_model(provider)
    assert stored_units(file) == [42]
    assert [one.receipt.units for one in receipts] == [42]


def test_other_names_of_tokens_and_other_units_are_understood(
    provider: TracerProvider, file: LaneFile
) -> None:
    bill(provider, file)
    with provider.get_tracer("test").start_as_current_span("old") as span:
        span.set_attributes({"gen_ai.operation.name": "text_completion"})
        span.set_attributes({"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.completion_tokens": 4})
    with provider.get_tracer("test").start_as_current_span("embed") as span:
        span.set_attributes({"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 5})
    assert stored_units(file) == [7, 5]


def test_calls_may_be_the_unit(provider: TracerProvider, file: LaneFile) -> None:
    bill(provider, file, units=span_calls)
    call_model(provider)
    assert stored_units(file) == [1]


def test_only_calls_of_a_model_are_billed_and_each_once(provider: TracerProvider, file: LaneFile) -> None:
    receipts = bill(provider, file)
    for operation in ("invoke_agent", "execute_tool", "create_agent", ""):
        call_model(provider, **{"gen_ai.operation.name": operation})
    call_model(provider, **{"gen_ai.response.id": "r1"})
    call_model(provider, **{"gen_ai.response.id": "r1"})
    assert stored_units(file) == [42], "two instrumentations that see one answer are one call"
    assert [one.is_repeat for one in receipts] == [False, True]


def test_a_failed_call_costs_nothing(provider: TracerProvider, file: LaneFile) -> None:
    bill(provider, file)
    with pytest.raises(RuntimeError, match="fell over"):
        fails(provider)
    assert stored_units(file) == []


def fails(provider: TracerProvider) -> None:
    with provider.get_tracer("test").start_as_current_span("chat") as span:
        span.set_attributes(CHAT)
        raise RuntimeError("the model fell over")


@pytest.mark.parametrize("tokens", [None, "12", 1.5, True, -1])
def test_an_answer_whose_span_cannot_be_counted_fails(
    provider: TracerProvider, file: LaneFile, tokens: Any
) -> None:
    bill(provider, file)
    span = provider.get_tracer("test").start_span("chat")
    span.set_attributes({name: value for name, value in CHAT.items() if "output" not in name})
    if tokens is not None:
        span.set_attribute("gen_ai.usage.output_tokens", tokens)
    with pytest.raises(UnitsMissing):
        span.end()
    assert stored_units(file) == []


def test_an_answer_that_the_lane_cannot_sign_for_fails(provider: TracerProvider, tmp_path: Path) -> None:
    bill(provider, new_lane(tmp_path, valid_to_ms=1))
    with pytest.raises(OutsideValidity):
        call_model(provider)


@pytest.mark.parametrize(
    "sampler",
    [DEFAULT_ON, ALWAYS_OFF, TraceIdRatioBased(1.0), ParentBased(ALWAYS_ON)],
    ids=lambda sampler: sampler.get_description()[:40],
)
def test_billing_refuses_a_sampler_that_may_drop_spans(file: LaneFile, sampler: Sampler) -> None:
    lossy = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    with pytest.raises(ConfigInvalid, match="sampler"):
        UsufructSpanProcessor(file.path, mode="bill", provider=lossy)
    Lane.open(file).close()  # nothing was opened


def test_billing_refuses_to_guess_the_provider(file: LaneFile) -> None:
    with pytest.raises(ConfigInvalid, match="no provider given"):
        UsufructSpanProcessor(file.path, mode="bill")
    with pytest.raises(ConfigInvalid, match="mode"):
        UsufructSpanProcessor(file.path, mode="count")


@pytest.fixture
def ended(provider: TracerProvider, file: LaneFile) -> InMemorySpanExporter:
    """Spans of a provider that annotates, once they have ended."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(UsufructSpanProcessor(file.path))
    return exporter


def attributes_of(exporter: InMemorySpanExporter) -> dict[str, Any]:
    (span,) = exporter.get_finished_spans()
    assert isinstance(span, ReadableSpan)
    return dict(span.attributes or {})


def test_annotating_is_the_default_and_writes_receipts_on_the_current_span(
    provider: TracerProvider, file: LaneFile, ended: InMemorySpanExporter
) -> None:
    app = routed(lambda _: PlainTextResponse("hello"), file.path)
    served: list[str | None] = []

    async def scenario() -> None:
        with provider.get_tracer("server").start_as_current_span("GET /v1/x"):
            served.append((await ask(app)).header("usage-receipt"))

    run(app, scenario)
    (span,) = ended.get_finished_spans()
    assert attributes_of(ended) == {
        "usufruct.lane": f"0x{file.lane.hex()}",
        "usufruct.seq": 0,
        "usufruct.units": 1,
    }
    assert [(event.attributes or {})["usufruct.receipt"] for event in span.events] == served
    assert stored_units(file) == [1], "annotating counts nothing"


def test_wsgi_receipts_are_annotated_too(
    provider: TracerProvider, file: LaneFile, ended: InMemorySpanExporter
) -> None:
    app = Meter.wsgi(hello, lane=file.path)
    with provider.get_tracer("server").start_as_current_span("GET /v1/x"):
        ask_wsgi(app)
    app.close()
    assert attributes_of(ended)["usufruct.seq"] == 0


def test_genai_spans_are_not_billed_when_annotating(
    provider: TracerProvider, file: LaneFile, ended: InMemorySpanExporter
) -> None:
    call_model(provider)
    assert stored_units(file) == []
    assert "usufruct.seq" not in attributes_of(ended)


def test_receipts_of_other_lanes_and_after_shutdown_are_left_alone(
    provider: TracerProvider, file: LaneFile, ended: InMemorySpanExporter, tmp_path: Path
) -> None:
    other = new_lane(tmp_path / "others", 1)

    def metered(path: Path) -> None:
        app = routed(lambda _: PlainTextResponse("hello"), path)

        async def scenario() -> None:
            with provider.get_tracer("server").start_as_current_span("GET"):
                await ask(app)

        run(app, scenario)

    metered(other.path)
    assert attributes_of(ended) == {}
    provider.shutdown()
    metered(file.path)
    assert stored_units(file) == [1]


def test_an_observer_that_fails_takes_no_answer_away(
    file: LaneFile, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: SignedReceipt) -> None:
        raise RuntimeError("no room for a span")

    def serve(_: Request) -> Response:
        return PlainTextResponse("hello")

    app = routed(serve, file.path)

    async def scenario() -> None:
        answer = await ask(app)
        assert (answer.status, answer.seq) == (200, 0)

    stop = observe(broken)
    try:
        with caplog.at_level(logging.ERROR):
            run(app, scenario)
    finally:
        stop()
    assert "observer" in caplog.text
