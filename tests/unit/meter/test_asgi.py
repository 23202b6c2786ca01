"""No metered call is answered before its receipt is durable; what cannot be counted is not answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from usufruct_meter.asgi import AsgiMeter
from usufruct_meter.clock.watch import ClockWatch, Moment
from usufruct_meter.errors import SpoolFull
from usufruct_meter.http.request import request_sha256
from usufruct_meter.lanes import group_commit
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_meter.signed_receipt import request_hash
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.receipts import decode_signed_receipt, settlement_domain, verify_receipt_signature

from tests.unit.meter.lane_kit import CHAIN_ID, SETTLEMENT, new_lane
from tests.unit.meter.test_idempotency import claim_only

DOMAIN = settlement_domain(CHAIN_ID, SETTLEMENT)
TAG = bytes(31) + b"\x09"

App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


@dataclass
class Answer:
    """What a client got: nothing at all has status 0."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) < 2, f"{name} was sent twice"
        return found[0] if found else None

    @property
    def seq(self) -> int | None:
        """The seq of the receipt, if there is one and its signature is right."""
        text = self.header("usage-receipt")
        if text is None:
            return None
        receipt, signature = decode_signed_receipt(text)
        verify_receipt_signature(receipt, signature, DOMAIN)
        return receipt.seq


async def ask(
    app: Any,
    path: str = "/v1/x",
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    query: bytes = b"",
    hangs_up: bool = False,
) -> Answer:
    """Send one request through an ASGI app."""
    answer = Answer()
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]
    messages = [
        {"type": "http.request", "body": halves[0], "more_body": True},
        {"type": "http.request", "body": halves[1], "more_body": False},
    ]
    if hangs_up:
        messages = []

    async def receive() -> Any:
        if not messages and not hangs_up:
            await asyncio.Event().wait()  # the client waits for its answer
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0
            answer.status = message["status"]
            answer.headers = [(key.decode(), value.decode()) for key, value in message["headers"]]
        else:
            assert answer.status
            answer.body += message["body"]

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in (headers or {}).items()],
        "client": None,
        "server": None,
        "extensions": {"http.response.pathsend": {}, "http.response.trailers": {}},
    }
    await app(scope, receive, send)
    return answer


def routed(endpoint: Callable[..., Any], location: Path, **options: Any) -> Starlette:
    """An app with one endpoint at every path, metered."""
    return Starlette(
        routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "OPTIONS"])],
        middleware=[Middleware(Meter.asgi, lane=location, checkpoint_every_s=0.05, **options)],
    )


def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


@pytest.fixture
def file(tmp_path: Path) -> LaneFile:
    return new_lane(tmp_path / "lanes")


def run(app: Any, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario between the app's startup and shutdown, as a server does."""

    async def main() -> None:
        to_app: asyncio.Queue[Any] = asyncio.Queue()
        from_app: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        lifespan = asyncio.create_task(app(scope, to_app.get, from_app.put))
        await to_app.put({"type": "lifespan.startup"})
        started = await from_app.get()
        assert started["type"] == "lifespan.startup.complete", started
        try:
            await scenario()
        finally:
            await to_app.put({"type": "lifespan.shutdown"})
            assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
            await lifespan

    asyncio.run(main())


def stored_count(file: LaneFile) -> int:
    reader = SpoolReader.open(file.spool)
    count = reader.count()
    reader.close()
    return count


def test_every_answer_carries_a_durable_receipt(file: LaneFile) -> None:
    app = routed(hello, file.path)

    async def scenario() -> None:
        for seq in range(3):
            answer = await ask(app)
            assert (answer.status, answer.body, answer.seq) == (200, b"hello", seq)
            assert stored_count(file) == seq + 1

    run(app, scenario)
    Lane.open(file).close()  # given back at shutdown


def test_inv_47_the_receipt_is_durable_before_the_first_byte_leaves(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    append = Spool.append

    def noted(self: Spool, *rows: Any) -> None:
        append(self, *rows)
        order.append("durable")

    monkeypatch.setattr(Spool, "append", noted)
    metered = AsgiMeter(Starlette(routes=[Route("/{path:path}", hello)]), lane=file.path)

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            order.append(message["type"])
            await send(message)

        await metered(scope, receive, watched if scope["type"] == "http" else send)

    async def scenario() -> None:
        await ask(watching)

    run(watching, scenario)
    assert order[:3] == ["durable", "http.response.start", "http.response.body"]


def test_the_caller_can_check_that_the_receipt_is_for_its_request(file: LaneFile) -> None:
    async def reads_nothing(_: Request) -> Response:
        return PlainTextResponse("ok")

    app = routed(reads_nothing, file.path)

    async def scenario() -> None:
        answer = await ask(
            app, "/v1/ask", method="POST", query=b"k=3", body=b"question", headers={"Idempotency-Key": "n1"}
        )
        receipt, _ = decode_signed_receipt(answer.header("usage-receipt") or "")
        salt = bytes.fromhex(answer.header("usage-receipt-salt") or "")
        digest = request_sha256("POST", "/v1/ask?k=3", b"question", "n1")
        assert receipt.request_hash == request_hash(salt, digest)

    run(app, scenario)


def test_failed_calls_and_redirects_get_no_receipt(file: LaneFile) -> None:
    def fails(request: Request) -> Response:
        what = request.path_params["path"]
        if what == "raise":
            raise RuntimeError("the model fell over")
        if what == "redirect":
            return RedirectResponse("/elsewhere")
        headers = {"Usage-Receipt": "forged", "usage-receipt-salt": "forged"}
        return PlainTextResponse("no", status_code=int(what), headers=headers)

    app = routed(fails, file.path)

    async def scenario() -> None:
        for what, status in (("400", 400), ("404", 404), ("500", 500), ("304", 304), ("redirect", 307)):
            answer = await ask(app, f"/{what}")
            assert (answer.status, answer.header("usage-receipt")) == (status, None)
            assert answer.header("usage-receipt-salt") is None
        with pytest.raises(RuntimeError, match="fell over"):
            await ask(app, "/raise")
        assert (await ask(app, "/200")).seq == 0

    run(app, scenario)
    assert stored_count(file) == 1


def test_only_named_routes_are_metered(file: LaneFile) -> None:
    app = routed(hello, file.path, routes=["/v1/*", "/predict"])

    async def scenario() -> None:
        assert [
            (await ask(app, path)).seq for path in ("/v1/a", "/v1/a/b", "/predict", "/health", "/predict/x")
        ] == [
            0,
            1,
            2,
            None,
            None,
        ]
        assert (await ask(app, "/v1/a", method="OPTIONS")).seq is None

    run(app, scenario)


def test_an_app_says_units_and_records(file: LaneFile) -> None:
    def similar(request: Request) -> Response:
        call = request.scope["usufruct"]
        call.use(TAG)
        call.use(TAG, 3)
        call.units = 7
        return JSONResponse({})

    app = routed(similar, file.path)

    async def scenario() -> None:
        answer = await ask(app)
        receipt, _ = decode_signed_receipt(answer.header("usage-receipt") or "")
        assert receipt.units == 7
        assert receipt.usage_root != bytes(32)

    run(app, scenario)
    reader = SpoolReader.open(file.spool)
    assert reader.openings(0, 1)[0].endswith(TAG + (3).to_bytes(4, "big"))
    reader.close()


@pytest.mark.parametrize(
    ("content", "units"),
    [
        ({"usage": {"total_tokens": 12, "prompt_tokens": 5}}, 12),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 6}}, 11),
        ({"usage": {"input_tokens": 1, "output_tokens": 2}}, 3),
        ({"usage": {"input_tokens": 1}}, None),
        ({"usage": {"total_tokens": 1.5}}, None),
        ({"usage": {"total_tokens": True}}, None),
        ({"usage": []}, None),
        ({}, None),
        ([], None),
        ("usage", None),
    ],
)
def test_tokens_come_from_the_answer(file: LaneFile, content: Any, units: int | None) -> None:
    app = routed(lambda _: JSONResponse(content), file.path, units="tokens")

    async def scenario() -> None:
        answer = await ask(app)
        if units is None:
            assert answer.status == 503
            assert json.loads(answer.body)["code"] == "units_missing"
        else:
            receipt, _ = decode_signed_receipt(answer.header("usage-receipt") or "")
            assert receipt.units == units

    run(app, scenario)


def test_units_may_be_a_function_of_call_and_body(file: LaneFile) -> None:
    app = routed(hello, file.path, units=lambda _, body: len(body))

    async def scenario() -> None:
        receipt, _ = decode_signed_receipt((await ask(app)).header("usage-receipt") or "")
        assert receipt.units == len(b"hello")

    run(app, scenario)


def test_bad_units_or_records_are_not_answered(file: LaneFile) -> None:
    def broken(request: Request) -> Response:
        call = request.scope["usufruct"]
        call.units = -1
        for tag, weight in (("text", 1), (b"short", 1), (TAG, 0), (TAG, 2**32)):
            with pytest.raises(InputRejected):
                call.use(tag, weight)
        return PlainTextResponse("secret answer")

    app = routed(broken, file.path)

    async def scenario() -> None:
        answer = await ask(app)
        assert answer.status == 503
        assert b"secret" not in answer.body

    run(app, scenario)
    assert stored_count(file) == 0


def test_inv_40_a_repeated_request_gets_the_first_receipt(file: LaneFile) -> None:
    app = routed(hello, file.path)

    async def scenario() -> None:
        key = {"Idempotency-Key": "abc", "Authorization": "Bearer a"}
        first = await ask(app, method="POST", body=b"q", headers=key)
        again = await ask(app, method="POST", body=b"q", headers=key)
        assert again.header("usage-receipt") == first.header("usage-receipt")
        assert again.header("usage-receipt-salt") == first.header("usage-receipt-salt")
        for other in (
            {"body": b"other", "headers": key},
            {"body": b"q", "headers": {**key, "Idempotency-Key": "abd"}},
            {"body": b"q", "headers": {**key, "Authorization": "Bearer b"}},
            {"body": b"q", "headers": key, "query": b"x"},
            {"body": b"q", "headers": key, "path": "/v1/y"},
            {"body": b"q", "headers": {}},
        ):
            assert (await ask(app, method="POST", **other)).header("usage-receipt") != first.header(
                "usage-receipt"
            )

    run(app, scenario)
    assert stored_count(file) == 7


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_a_bad_idempotency_key_is_refused_before_any_work(file: LaneFile, key: str) -> None:
    def never(_: Request) -> Response:
        raise AssertionError

    app = routed(never, file.path)

    async def scenario() -> None:
        answer = await ask(app, headers={"Idempotency-Key": key})
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_idempotency_key")

    run(app, scenario)


def test_when_the_spool_fails_nothing_is_answered_and_later_no_work_is_done(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[int] = []

    def works(_: Request) -> Response:
        worked.append(1)
        return PlainTextResponse("secret answer")

    def full(*_: Any) -> None:
        raise SpoolFull("spool /somewhere is full")

    app = routed(works, file.path)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", full)
            patch.setattr(Spool, "probe", full)
            for _ in range(3):
                answer = await ask(app)
                assert (answer.status, answer.header("retry-after")) == (503, "1")
                assert answer.header("content-type") == "application/problem+json"
                assert json.loads(answer.body)["code"] == "spool_full"
                assert b"secret" not in answer.body
                assert b"somewhere" not in answer.body
            assert len(worked) == 1
        await asyncio.sleep(1.1)
        assert (await ask(app)).seq == 0

    run(app, scenario)


class WrongClock:
    """Lets a process believe that it knows its clock to be an hour ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._right, self.is_wrong = ClockWatch.moment, True
        monkeypatch.setattr(ClockWatch, "moment", lambda watch: self._moment(watch))

    def _moment(self, watch: ClockWatch) -> Moment:
        moment = self._right(watch)
        return Moment(moment.now_ms, moment.now_ms - 3_600_000 * self.is_wrong)


@pytest.mark.parametrize("on_spool_full", ["refuse", "wait"])
def test_inv_49_a_clock_ahead_is_treated_as_a_full_spool(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch, on_spool_full: str
) -> None:
    worked: list[int] = []

    async def works(_: Request) -> Response:
        worked.append(1)
        return PlainTextResponse("secret answer")

    app = routed(works, file.path, on_spool_full=on_spool_full, wait_s=20.0)

    async def scenario() -> None:
        clock = WrongClock(monkeypatch)
        waiting = asyncio.create_task(ask(app))
        if on_spool_full == "refuse":
            answer = await waiting
            assert (answer.status, answer.header("retry-after")) == (503, "30")
            assert json.loads(answer.body)["code"] == "clock_ahead"
            assert b"secret" not in answer.body
            waiting = asyncio.create_task(ask(app))
        else:
            await asyncio.sleep(0.3)
            assert not waiting.done()
        assert not worked
        clock.is_wrong = False
        assert (await waiting).seq == 0

    run(app, scenario)


def test_inv_49_a_clock_that_jumps_while_a_call_is_answered_gives_nothing_away(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[WrongClock] = []

    async def works(_: Request) -> Response:
        clocks.append(WrongClock(monkeypatch))
        return PlainTextResponse("secret answer")

    app = routed(works, file.path)

    async def scenario() -> None:
        answer = await ask(app)
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "clock_ahead")
        assert len(clocks) == 1

    run(app, scenario)


def test_a_lane_that_is_over_refuses_before_any_work(tmp_path: Path) -> None:
    def never(_: Request) -> Response:
        raise AssertionError

    app = routed(never, new_lane(tmp_path, valid_to_ms=1).path)

    async def scenario() -> None:
        answer = await ask(app)
        assert (answer.status, answer.header("retry-after")) == (503, "60")
        assert json.loads(answer.body)["code"] == "lane_outside_validity"

    run(app, scenario)


def test_streams_and_files_are_held_back_whole(file: LaneFile, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"0123456789" * 30_000)

    async def parts() -> Any:
        for n in range(5):
            yield b"part%d " % n

    def serve(request: Request) -> Response:
        if request.path_params["path"] == "file":
            return FileResponse(large)
        return StreamingResponse(parts())

    app = routed(serve, file.path)

    async def scenario() -> None:
        stream = await ask(app, "/stream")
        assert (stream.body, stream.seq) == (b"part0 part1 part2 part3 part4 ", 0)
        whole = await ask(app, "/file")
        assert (whole.body, whole.seq) == (large.read_bytes(), 1)

    run(app, scenario)


def test_an_answer_too_large_to_hold_is_refused(file: LaneFile) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 100

    app = routed(lambda _: StreamingResponse(endless()), file.path, max_response_bytes=1_000)

    async def scenario() -> None:
        answer = await ask(app)
        assert answer.status == 503
        assert b"x" * 100 not in answer.body

    run(app, scenario)
    assert stored_count(file) == 0


def test_a_stream_that_breaks_off_gets_no_receipt(file: LaneFile) -> None:
    async def breaks() -> Any:
        yield b"half"
        raise RuntimeError("gone")

    app = routed(lambda _: StreamingResponse(breaks()), file.path)

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="gone"):
            await ask(app)

    run(app, scenario)
    assert stored_count(file) == 0


def test_work_after_the_answer_changes_nothing(file: LaneFile) -> None:
    done: list[int] = []

    def fails_later() -> None:
        done.append(1)
        raise RuntimeError("later")

    app = routed(lambda _: PlainTextResponse("ok", background=BackgroundTask(fails_later)), file.path)

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="later"):
            await ask(app)

    run(app, scenario)
    assert done
    assert stored_count(file) == 1


def test_a_client_that_hangs_up_is_metered_if_the_app_finishes(file: LaneFile) -> None:
    app = routed(hello, file.path)

    async def scenario() -> None:
        await ask(app, hangs_up=True)

    run(app, scenario)
    assert stored_count(file) == 1


def test_a_cancelled_call_loses_no_receipt_and_wedges_nothing(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = routed(hello, file.path)

    async def scenario() -> None:
        calls = [asyncio.create_task(ask(app)) for _ in range(50)]
        await asyncio.sleep(0.002)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        kept = [one.seq for one in answers if isinstance(one, Answer)]
        assert None not in kept
        assert len(set(kept)) == len(kept) >= 25
        assert (await ask(app)).status == 200

    run(app, scenario)


def test_a_call_that_another_worker_is_metering_waits(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(group_commit, "_ELSEWHERE_TIMEOUT_S", 0.05)
    other = Lane.open(new_lane(file.path.parent, 1))
    app = routed(hello, file.path)

    async def scenario() -> None:
        probe = await ask(app, headers={"Idempotency-Key": "known"})
        assert probe.seq == 0
        with monkeypatch.context() as patch:
            patch.setattr("usufruct_meter.http.exchange.IncomingRequest.response_id", lambda _: "claimed")
            claim_only(other, "claimed")
            answer = await ask(app)
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            assert json.loads(answer.body)["code"] == "response_id_busy"
            signed = await asyncio.to_thread(other.meter, 1, response_id="claimed")
            assert (await ask(app)).header("usage-receipt") == signed.text

    run(app, scenario)
    other.close()


def test_concurrent_calls_share_writes(file: LaneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    append = Spool.append

    def noted(self: Spool, receipts: Any, checkpoints: Any) -> None:
        groups.append(len(receipts))
        append(self, receipts, checkpoints)

    monkeypatch.setattr(Spool, "append", noted)
    app = routed(hello, file.path)

    async def scenario() -> None:
        answers = await asyncio.gather(*(ask(app) for _ in range(200)))
        assert sorted(answer.seq for answer in answers if answer.seq is not None) == list(range(200))

    run(app, scenario)
    assert max(groups) > 10


def test_a_websocket_on_a_metered_route_is_refused(file: LaneFile) -> None:
    app = AsgiMeter(lambda *_: pytest.fail("the app was called"), lane=file.path)
    sent: list[Any] = []

    async def scenario() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "websocket", "path": "/v1/x"}, receive, send)

    asyncio.run(scenario())
    assert sent == ["websocket.close"]


@pytest.mark.parametrize("knows_lifespan", [False, True])
def test_an_app_without_a_lifespan_is_served_too(file: LaneFile, knows_lifespan: bool) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if knows_lifespan:
                return
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    app = AsgiMeter(bare, lane=file.path)

    async def scenario() -> None:
        assert (await ask(app)).seq == 0

    run(app, scenario)
    Lane.open(file).close()


def test_without_lifespan_events_the_first_call_opens_the_lane(file: LaneFile) -> None:
    app = routed(hello, file.path)

    async def scenario() -> None:
        answers = await asyncio.gather(*(ask(app) for _ in range(5)))
        assert sorted(answer.seq for answer in answers if answer.seq is not None) == list(range(5))
        await asyncio.to_thread(close_middleware, app)

    asyncio.run(scenario())


def close_middleware(app: Starlette) -> None:
    """End what a server without lifespan events never ends."""
    layer: Any = app.middleware_stack
    while not isinstance(layer, AsgiMeter):
        layer = layer.app
    asyncio.run(layer.close())


def test_a_lane_that_cannot_be_opened_stops_the_server(tmp_path: Path) -> None:
    app = routed(hello, tmp_path / "none.json")
    sent: list[Any] = []

    async def scenario() -> None:
        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "lifespan"}, receive, send)

    asyncio.run(scenario())
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "none.json" in sent[0]["message"]
    assert "hint:" in sent[0]["message"]


@pytest.mark.parametrize(
    "options", [{"routes": "/v1/*"}, {"routes": []}, {"routes": ["v1"]}, {"units": "words"}]
)
def test_a_bad_option_is_refused_at_once(file: LaneFile, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid):
        Meter.asgi(hello, lane=file.path, **options)
