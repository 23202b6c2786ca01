"""A stream is sent while it is made, and never runs far ahead of its receipts."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from usufruct_meter.errors import SpoolFull
from usufruct_meter.http.receipt_desk import RECEIPTS_PATH
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_meter.streaming import receipts_in as receipts_in_text
from usufruct_protocol.receipts import UsageReceipt, decode_signed_receipt, verify_receipt_signature

from tests.unit.meter.lane_kit import new_lane
from tests.unit.meter.test_asgi import DOMAIN, TAG, Answer, ask, routed, run, stored_count

COMMENT = re.compile(rb": usage-receipt ([\w-]+) ([0-9a-f]{64})\n\n")
DONE = b"data: [DONE]\n\n"


def delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def usage(total: int) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": {"total_tokens": total}}).encode() + b"\n\n"


CHAT = [delta("one"), delta("two"), delta("three"), usage(40), DONE]


def streams(parts: Sequence[bytes], file: LaneFile, **options: Any) -> Any:
    """An app that answers every call with the same event stream."""

    async def send_parts() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    def serve(_: Request) -> StreamingResponse:
        return StreamingResponse(send_parts(), media_type="text/event-stream")

    return routed(serve, file.path, **{"units": "tokens", **options})


def receipts_in(answer: Answer) -> list[UsageReceipt]:
    """All receipts that a client got with a stream, each with its signature checked."""
    texts = [answer.header("usage-receipt") or "", *(m[1].decode() for m in COMMENT.finditer(answer.body))]
    found = []
    for text in texts:
        receipt, signature = decode_signed_receipt(text)
        verify_receipt_signature(receipt, signature, DOMAIN)
        found.append(receipt)
    return found


def stored_units(file: LaneFile) -> list[int]:
    reader = SpoolReader.open(file.spool)
    units = [stored.receipt.units for stored, _ in reader.receipts_from(file.lane, 0)]
    reader.close()
    return units


@pytest.fixture
def file(tmp_path: Path) -> LaneFile:
    return new_lane(tmp_path / "lanes")


def test_inv_47_a_stream_goes_out_while_it_is_made_after_a_durable_receipt(
    file: LaneFile,
) -> None:
    app = streams(CHAT, file)
    seen: list[tuple[bytes, int]] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def watching(message: Any) -> None:
            if scope["type"] == "http":
                seen.append((message.get("body", b"start"), stored_count(file)))
            await send(message)

        await app(scope, receive, watching)

    async def scenario() -> None:
        answer = await ask(watched)
        assert COMMENT.sub(b"", answer.body) == b"".join(CHAT)
        first, last = receipts_in(answer)
        assert (first.units, last.units) == (1, 39)
        assert answer.header("usufruct-lane") == f"0x{file.lane.hex()}"
        assert answer.header("usufruct-seq") == "0"
        assert answer.body.index(b": usage-receipt") < answer.body.index(DONE)

    run(watched, scenario)
    assert [part for part, _ in seen][:3] == [b"start", CHAT[0], CHAT[1]], "a stream is not held back"
    assert [count for _, count in seen][:4] == [1, 1, 1, 1]


def test_a_stream_that_comes_in_one_part_has_one_receipt(file: LaneFile) -> None:
    app = streams([b"".join(CHAT)], file)

    async def scenario() -> None:
        assert [receipt.units for receipt in receipts_in(await ask(app))] == [40]

    run(app, scenario)


def test_an_empty_stream_is_a_call_too(file: LaneFile) -> None:
    app = streams([], file, units="retrieval")

    async def scenario() -> None:
        answer = await ask(app)
        assert (answer.body, [receipt.units for receipt in receipts_in(answer)]) == (b"", [1])

    run(app, scenario)


def test_a_kind_that_counts_calls_signs_before_the_first_byte_and_no_more(file: LaneFile) -> None:
    app = streams(CHAT, file, units="inference")

    async def scenario() -> None:
        answer = await ask(app)
        assert answer.body == b"".join(CHAT)
        assert [receipt.units for receipt in receipts_in(answer)] == [1]

    run(app, scenario)


def test_records_used_while_a_stream_goes_on_are_signed_for_once(file: LaneFile) -> None:
    def serve(request: Request) -> StreamingResponse:
        call = request.scope["usufruct"]

        async def parts() -> AsyncIterator[bytes]:
            call.use(TAG)
            yield delta("one")
            call.use(bytes(32))
            yield DONE

        return StreamingResponse(parts(), media_type="text/event-stream; charset=utf-8")

    app = routed(serve, file.path, units="retrieval")

    async def scenario() -> None:
        assert [receipt.units for receipt in receipts_in(await ask(app))] == [1, 0]

    run(app, scenario)
    reader = SpoolReader.open(file.spool)
    openings = reader.openings(0, 2)
    reader.close()
    assert [openings[seq][36:68] for seq in (0, 1)] == [TAG, bytes(32)]


def test_json_lines_stream_too_without_comments(file: LaneFile) -> None:
    lines = [b'{"message": {"content": "a"}}\n', b'{"prompt_eval_count": 3, "eval_count": 4}\n']

    async def parts() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    app = routed(
        lambda _: StreamingResponse(parts(), media_type="application/x-ndjson"), file.path, units="tokens"
    )

    async def scenario() -> None:
        answer = await ask(app)
        assert answer.body == b"".join(lines)
        assert answer.header("usufruct-seq") == "0"

    run(app, scenario)
    assert sum(stored_units(file)) == 7


@pytest.mark.parametrize(
    "headers",
    [{"content-encoding": "gzip"}, {"content-length": str(len(b"".join(CHAT)))}],
    ids=["compressed", "of known length"],
)
def test_what_cannot_be_cut_into_events_is_held_whole(file: LaneFile, headers: dict[str, str]) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in CHAT:
            yield part

    app = routed(
        lambda _: StreamingResponse(parts(), media_type="text/event-stream", headers=headers), file.path
    )

    async def scenario() -> None:
        answer = await ask(app)
        assert (answer.body, answer.seq) == (b"".join(CHAT), 0)
        assert answer.header("usufruct-seq") is None

    run(app, scenario)


def test_a_stream_that_reports_no_tokens_counts_its_text_events_and_says_so(
    file: LaneFile, caplog: pytest.LogCaptureFixture
) -> None:
    app = streams([*CHAT[:3], DONE], file)

    async def scenario() -> None:
        assert sum(receipt.units for receipt in receipts_in(await ask(app))) == 3

    run(app, scenario)
    assert "include_usage" in caplog.text


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_a_stream_that_breaks_off_is_signed_for_what_was_delivered(file: LaneFile, how: str) -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in CHAT[:3]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if how == "raises":
            raise RuntimeError("the model fell over")

    app = metered(breaks, file)

    async def scenario() -> None:
        if how == "raises":
            with pytest.raises(RuntimeError, match="fell over"):
                await ask(app)
        else:
            await ask(app)

    run(app, scenario)
    assert stored_units(file) == [1, 2]


def metered(app: Any, file: LaneFile) -> Any:
    """A bare app, which knows of no lifespan, behind the meter."""

    async def http_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await app(scope, receive, send)

    return Meter.asgi(http_only, lane=file.path, units="tokens", checkpoint_every_s=0.05)


def endless(file: LaneFile, **options: Any) -> Any:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield delta("word")
            await asyncio.sleep(0.001)

    return routed(
        lambda _: StreamingResponse(parts(), media_type="text/event-stream"),
        file.path,
        units="tokens",
        **options,
    )


@dataclass
class Caller:
    """A client that takes so many parts of a stream and then is gone, as servers tell of it."""

    parts: int
    raises: bool = False
    taken: int = 0

    async def __call__(self, app: Any) -> None:
        gone = asyncio.Event()
        asked = False

        async def receive() -> Any:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] != "http.response.body":
                return
            if self.taken == self.parts:
                gone.set()
                if self.raises:
                    raise OSError("the client has gone")
                return
            self.taken += 1

        version = "2.4" if self.raises else "2.3"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": version},
            "method": "GET",
            "path": "/v1/x",
            "raw_path": b"/v1/x",
            "query_string": b"",
            "headers": [],
        }
        await app(scope, receive, send)


@pytest.mark.parametrize("raises", [False, True], ids=["server drops silently", "server raises"])
def test_a_client_that_hangs_up_has_what_was_delivered_counted(file: LaneFile, raises: bool) -> None:
    app = endless(file)
    caller = Caller(5, raises)

    async def scenario() -> None:
        gone = pytest.raises(ClientDisconnect) if raises else nullcontext()
        async with asyncio.timeout(5):
            with gone:
                await caller(app)

    run(app, scenario)
    assert caller.taken == 5
    delivered = sum(stored_units(file))
    assert delivered == 5 if raises else 5 <= delivered <= 8


def test_a_server_that_stops_signs_for_streams_that_are_under_way(file: LaneFile) -> None:
    app = endless(file)
    caller = Caller(10**6)

    async def scenario() -> None:
        serving = asyncio.create_task(caller(app))
        while caller.taken < 20:
            await asyncio.sleep(0.001)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    run(app, scenario)
    assert caller.taken <= sum(stored_units(file)) <= caller.taken + 1
    Lane.open(file).close()


def test_a_long_stream_is_signed_for_on_the_way(file: LaneFile) -> None:
    app = endless(file, installment_every_s=0.05)
    caller = Caller(100)

    async def scenario() -> None:
        await caller(app)

    run(app, scenario)
    units = stored_units(file)
    assert len(units) > 2
    assert 100 <= sum(units) <= 103


def test_inv_40_a_repeated_stream_gets_the_first_receipts(file: LaneFile) -> None:
    app = streams(CHAT, file)
    key = {"Idempotency-Key": "k"}

    async def scenario() -> None:
        first = await ask(app, headers=key)
        again = await ask(app, headers=key)
        assert again.body == first.body
        assert receipts_in(again) == receipts_in(first)
        assert stored_units(file) == [1, 39]

    run(app, scenario)
    for parts in ([b"".join(CHAT)], [CHAT[0], b"".join(CHAT[1:])]):
        other = streams(parts, file)

        async def repeat(app: Any = other) -> None:
            await ask(app, headers=key)

        run(other, repeat)
    assert stored_units(file) == [1, 39], "however the repeat is cut, it is counted once"


def test_inv_40_a_stream_that_came_in_one_part_is_counted_once_when_its_repeat_comes_in_many(
    file: LaneFile,
) -> None:
    for parts in ([b"".join(CHAT)], CHAT):
        app = streams(parts, file)

        async def repeat(app: Any = app) -> None:
            await ask(app, headers={"Idempotency-Key": "k"})

        run(app, repeat)
    assert stored_units(file) == [40]


def test_the_retry_of_a_stream_that_broke_off_is_counted_in_full_and_its_part_stays(file: LaneFile) -> None:
    breaks = {"now": True}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in CHAT[:3] if breaks["now"] else CHAT:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if not breaks["now"]:
            await send({"type": "http.response.body", "body": b""})

    app = metered(serve, file)

    async def scenario() -> None:
        key = {"Idempotency-Key": "k"}
        await ask(app, headers=key)
        await ask(app, headers=key)
        assert stored_units(file) == [1, 2, 2], "each delivered part counts; the first receipt is shared"
        breaks["now"] = False
        whole = await ask(app, headers=key)
        assert stored_units(file) == [1, 2, 2, 39]
        assert [receipt.seq for receipt in receipts_in(whole)] == [0, 3]
        again = await ask(app, headers=key)
        assert receipts_in(again) == receipts_in(whole)

    run(app, scenario)


def full(*_: Any) -> None:
    raise SpoolFull("spool /somewhere is full")


def test_a_stream_that_cannot_be_counted_is_refused_before_its_first_byte_and_stopped(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = endless(file)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", full)
            async with asyncio.timeout(5):
                answer = await ask(app)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert b"word" not in answer.body

    run(app, scenario)


def test_a_stream_that_cannot_be_counted_further_is_cut_off(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = endless(file, installment_every_s=0.05)
    caller = Caller(10**6)

    async def scenario() -> None:
        serving = asyncio.create_task(caller(app))
        while not caller.taken:
            await asyncio.sleep(0.001)
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", full)
            async with asyncio.timeout(5):
                await serving  # an endless stream ends only if it is cut off

    run(app, scenario)


def test_a_gateway_that_is_told_to_wait_waits_for_room(
    file: LaneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [full] * 2
    append = Spool.append

    def sometimes(self: Spool, *rows: Any) -> None:
        if failures:
            failures.pop()()
        append(self, *rows)

    app = streams(CHAT, file, on_spool_full="wait", wait_s=5.0)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", sometimes)
            assert (await ask(app)).status == 200

    run(app, scenario)
    assert stored_units(file) == [1, 39]


@pytest.mark.parametrize("said", [-1, "many", 1.5, 2**48])
def test_units_that_are_none_refuse_a_stream_or_cut_it_off(file: LaneFile, said: Any) -> None:
    def serve(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            request.scope["usufruct"].units = said if request.url.path == "/first" else 1
            yield delta("one")
            request.scope["usufruct"].units = said
            yield delta("two")

        return StreamingResponse(parts(), media_type="text/event-stream")

    app = routed(serve, file.path)

    async def scenario() -> None:
        assert (await ask(app, "/first")).status == 503
        answer = await ask(app, "/second")
        assert (answer.status, answer.seq) == (200, 0)

    run(app, scenario)
    assert stored_units(file) == [1]


def test_an_app_may_answer_before_it_has_read_the_request(file: LaneFile) -> None:
    bodies: list[bytes] = []

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": delta("hello"), "more_body": True})
        more = True
        while more:
            message = await receive()
            bodies.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.body", "body": DONE})

    app = metered(serve, file)

    async def scenario() -> None:
        assert (await ask(app, method="POST", body=b"a long question")).seq == 0

    run(app, scenario)
    assert b"".join(bodies) == b"a long question"


def test_a_mounted_app_hands_out_receipts_below_its_mount(file: LaneFile) -> None:
    inner = streams(CHAT, file)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        below = {"root_path": "/api", "path": "/api" + scope["path"]} if scope["type"] == "http" else {}
        await inner({**scope, **below}, receive, send)

    async def scenario() -> None:
        answer = await ask(mounted)
        salt = answer.header("usage-receipt-salt")
        assert (await fetch(mounted, file.lane, 0, salt)).status == 200

    run(mounted, scenario)


async def fetch(app: Any, lane: bytes | str, seq: int | str, salt: str | None) -> Answer:
    lane = lane if isinstance(lane, str) else f"0x{lane.hex()}"
    headers = {} if salt is None else {"usage-receipt-salt": salt}
    return await ask(app, f"{RECEIPTS_PATH}{lane}/{seq}", headers=headers)


def test_whoever_got_a_stream_can_fetch_its_receipts_and_nobody_else(file: LaneFile) -> None:
    app = streams(CHAT, file)

    async def scenario() -> None:
        answer = await ask(app)
        other = await ask(app)
        salt = answer.header("usage-receipt-salt") or ""
        found = await fetch(app, file.lane, 0, salt)
        shown = json.loads(found.body)
        assert (found.status, shown["has_end"]) == (200, True)
        assert [one["part"] for one in shown["receipts"]] == ["first", "end"]
        told = [answer.header("usage-receipt"), *(text for text, _ in receipts_in_text(answer.body.decode()))]
        assert [one["receipt"] for one in shown["receipts"]] == told
        assert found.header("usage-receipt") is None, "looking costs nothing"
        wrong: list[tuple[Any, Any, str | None]] = [
            (file.lane, 0, None),
            (file.lane, 0, ""),
            (file.lane, 0, "é"),
            (file.lane, 0, other.header("usage-receipt-salt")),
            (file.lane, 1, salt),
            (file.lane, 99, salt),
            (file.lane, 10**18, salt),
            (bytes(20), 0, salt),
            ("../x", 0, salt),
            (file.lane, "-1", salt),
        ]
        for lane, seq, shown_salt in wrong:
            assert (await fetch(app, lane, seq, shown_salt)).status == 404, (lane, seq, shown_salt)

    run(app, scenario)
    assert stored_count(file) == 4


def test_any_worker_hands_out_the_receipts_of_every_lane(file: LaneFile) -> None:
    other = new_lane(file.path.parent, 1)
    with Lane.open(file) as lane:
        signed = lane.meter(3, response_id="a")
        app = streams(CHAT, LaneFile.load(other.path))

        async def alone() -> None:
            assert (await fetch(app, file.lane, 0, signed.request_salt.hex())).status == 404

        run(app, alone)
        folder: Callable[..., Any] = streams
        app = folder(CHAT, type("Folder", (), {"path": file.path.parent}))

        async def scenario() -> None:
            found = json.loads((await fetch(app, file.lane, 0, signed.request_salt.hex())).body)
            assert found["receipts"][0]["receipt"] == signed.text

        run(app, scenario)
