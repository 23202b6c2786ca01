"""WSGI: the rules of the ASGI middleware, for threads and servers that iterate."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from usufruct_meter.errors import SpoolFull
from usufruct_meter.http.receipt_desk import RECEIPTS_PATH
from usufruct_meter.http.request import request_sha256
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.meter import Meter
from usufruct_meter.signed_receipt import request_hash
from usufruct_meter.wsgi import WsgiMeter
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.receipts import UsageReceipt, decode_signed_receipt, verify_receipt_signature

from tests.unit.meter.lane_kit import new_lane
from tests.unit.meter.test_asgi import DOMAIN, TAG, WrongClock, stored_count
from tests.unit.meter.test_asgi_streams import CHAT, COMMENT, DONE, delta, stored_units

EVENTS = [("Content-Type", "text/event-stream")]


@dataclass
class Answer:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def receipts(self) -> list[UsageReceipt]:
        texts = [self.headers.get("usage-receipt"), *(m[1].decode() for m in COMMENT.finditer(self.body))]
        found = []
        for text in filter(None, texts):
            receipt, signature = decode_signed_receipt(text)
            verify_receipt_signature(receipt, signature, DOMAIN)
            found.append(receipt)
        return found


def environ_of(path: str, method: str, body: bytes, headers: dict[str, str], query: str) -> dict[str, Any]:
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "gateway",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body + b"the next request on this connection"),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **named,
    }


def ask(
    app: Any,
    path: str = "/v1/x",
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    query: str = "",
    parts: int | None = None,
) -> Answer:
    """Send one request; `parts` says after how many parts the client hangs up."""
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert not answer.status
        answer.status = int(status.split()[0])
        answer.headers = {name.lower(): value for name, value in headers}
        assert len(answer.headers) == len(headers), "a header was sent twice"

    result = app(environ_of(path, method, body, headers or {}, query), start_response)
    try:
        for number, part in enumerate(result):
            if number == parts:
                break
            assert answer.status
            answer.body += part
    finally:
        if hasattr(result, "close"):
            result.close()
    return answer


App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Metered = Callable[..., WsgiMeter]


@pytest.fixture
def file(tmp_path: Path) -> LaneFile:
    return new_lane(tmp_path / "lanes")


@pytest.fixture
def metered(file: LaneFile) -> Iterator[Metered]:
    made: list[WsgiMeter] = []

    def wrap(app: App, **options: Any) -> WsgiMeter:
        made.append(Meter.wsgi(app, lane=options.pop("lane", file.path), checkpoint_every_s=0.05, **options))
        return made[-1]

    yield wrap
    for one in made:
        one.close()


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


def streams(parts: Iterable[bytes]) -> App:
    def serve(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(EVENTS))
        yield from parts

    return serve


def test_every_answer_carries_a_durable_receipt(file: LaneFile, metered: Metered) -> None:
    app = metered(hello)
    for seq in range(3):
        answer = ask(app)
        assert (answer.status, answer.body) == (200, b"hello")
        assert [(one.seq, one.units) for one in answer.receipts] == [(seq, 1)]
        assert stored_count(file) == seq + 1
    app.close()
    Lane.open(file).close()


def test_it_keeps_the_standard(metered: Metered) -> None:
    inner = metered(validator(hello), routes=["/v1/*"])

    def server(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.errors"] = type("Errors", (), dict.fromkeys(("flush", "write", "writelines"), len))()
        return validator(inner)(environ, start_response)

    assert ask(server).body == b"hello"


def test_the_caller_can_check_that_the_receipt_is_for_its_request(metered: Metered) -> None:
    def reads_some(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        source = environ["wsgi.input"]
        assert source.readline() == b"one\n"
        assert source.read(2) == b"tw"
        start_response("200 OK", [])
        return [b"ok"]

    answer = ask(
        metered(reads_some),
        "/v1/ä".encode().decode("latin-1"),
        method="POST",
        query="k=3",
        body=b"one\ntwo\nthree",
        headers={"Idempotency-Key": "n1"},
    )
    digest = request_sha256("POST", "/v1/%C3%A4?k=3", b"one\ntwo\nthree", "n1")
    salt = bytes.fromhex(answer.headers["usage-receipt-salt"])
    assert answer.receipts[0].request_hash == request_hash(salt, digest)


@pytest.mark.parametrize("how", ["read", "lines", "list", "hint"])
def test_an_app_reads_its_request_and_no_more(metered: Metered, how: str) -> None:
    ways: dict[str, Callable[[Any], Any]] = {
        "read": lambda source: source.read(),
        "lines": lambda source: b"".join(source),
        "list": lambda source: b"".join(source.readlines()),
        "hint": lambda source: b"".join(source.readlines(2) + source.readlines(100)),
    }

    def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [ways[how](environ["wsgi.input"])]

    assert ask(metered(echo), method="POST", body=b"one\ntwo\nthree").body == b"one\ntwo\nthree"


def test_failed_calls_get_no_receipt(file: LaneFile, metered: Metered) -> None:
    def fails(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status = environ["PATH_INFO"][1:]
        if status == "raise":
            raise RuntimeError("the model fell over")
        start_response(f"{status} Status", [("Usage-Receipt", "forged"), ("usufruct-seq", "7")])
        return [b"no"]

    app = metered(fails)
    for status in (304, 400, 404, 500):
        answer = ask(app, f"/{status}")
        assert (answer.status, answer.body, answer.headers) == (status, b"no", {})
    with pytest.raises(RuntimeError, match="fell over"):
        ask(app, "/raise")
    assert len(ask(app, "/200").receipts) == 1
    assert stored_count(file) == 1


def test_an_app_that_fails_half_way_may_still_answer_with_an_error(metered: Metered) -> None:
    def changes_its_mind(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise RuntimeError
        except RuntimeError as error:
            start_response("500 Sorry", [], (type(error), error, None))
        return [b"sorry"]

    answer = ask(metered(changes_its_mind))
    assert (answer.status, answer.receipts) == (500, [])


def test_an_app_may_write_the_old_way(metered: Metered) -> None:
    def writes(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"b")
        yield b"c"
        write(b"d")
        yield b""
        write(b"e")

    assert ask(metered(writes)).body == b"abcde"


def test_only_named_routes_are_metered(metered: Metered) -> None:
    app = metered(hello, routes=["/v1/*"])
    assert [len(ask(app, path).receipts) for path in ("/v1/a", "/health")] == [1, 0]
    assert ask(app, "/v1/a", method="OPTIONS").receipts == []


def test_an_app_says_units_and_records(metered: Metered) -> None:
    def says(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["usufruct.call"].use(TAG)
        environ["usufruct.call"].ran_over(50, 3)
        start_response("200 OK", [])
        return [b"{}"]

    (receipt,) = ask(metered(says, units="fine_tune")).receipts
    assert (receipt.units, receipt.usage_root != bytes(32)) == (150, True)


def test_inv_40_a_repeated_request_gets_the_first_receipt(file: LaneFile, metered: Metered) -> None:
    app = metered(hello)
    key = {"Idempotency-Key": "abc", "Authorization": "Bearer a"}
    first = ask(app, method="POST", body=b"q", headers=key)
    assert ask(app, method="POST", body=b"q", headers=key).headers == first.headers
    assert ask(app, method="POST", body=b"other", headers=key).headers != first.headers
    assert ask(app, headers={"Idempotency-Key": "a b"}).status == 400
    assert stored_count(file) == 2


def full(*_: Any) -> None:
    raise SpoolFull("spool /somewhere is full")


def test_when_the_spool_fails_nothing_is_answered(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[int] = []

    def works(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        worked.append(1)
        return hello(environ, start_response)

    app = metered(works)
    ask(app)
    monkeypatch.setattr(Spool, "append", full)
    monkeypatch.setattr(Spool, "probe", full)
    for _ in range(3):
        answer = ask(app)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["code"] == "spool_full"
        assert b"hello" not in answer.body
    assert len(worked) == 2


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_inv_49_a_clock_ahead_is_treated_as_a_full_spool(
    file: LaneFile, metered: Metered, monkeypatch: pytest.MonkeyPatch, wait_s: float
) -> None:
    app = metered(hello, on_spool_full="wait", wait_s=wait_s)
    ask(app)
    with monkeypatch.context() as patch:
        clock = WrongClock(patch)
        began = time.monotonic()
        answer = ask(app)
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        assert json.loads(answer.body)["code"] == "clock_ahead"
        assert time.monotonic() - began >= wait_s
        clock.is_wrong = False
        assert ask(app).status == 200
    assert stored_count(file) == 2


def test_an_answer_too_large_to_hold_is_refused_and_its_app_ended(metered: Metered) -> None:
    ended: list[int] = []

    def endless(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 100
        finally:
            ended.append(1)

    assert ask(metered(endless, max_response_bytes=1_000)).status == 503
    assert ended


def test_inv_47_a_stream_goes_out_while_it_is_made_after_a_durable_receipt(
    file: LaneFile, metered: Metered
) -> None:
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        for number, part in enumerate(CHAT):
            made.append(number)
            yield part

    app = metered(streams(parts()), units="tokens")
    got: list[tuple[bytes, int]] = []
    started: list[Any] = []
    result = app(
        environ_of("/v1/x", "GET", b"", {}, ""), lambda *given: started.append((given, stored_count(file)))
    )
    for part in result:
        got.append((part, len(made)))
    result.close()  # type: ignore[attr-defined]
    assert started[0][1] == 1, "the receipt is durable before the answer starts"
    assert got[:2] == [(CHAT[0], 1), (CHAT[1], 2)]
    body = b"".join(part for part, _ in got)
    assert COMMENT.sub(b"", body) == b"".join(CHAT)
    assert body.index(b": usage-receipt") < body.index(DONE)
    assert stored_units(file) == [1, 39]
    assert dict(started[0][0][1])["usufruct-seq"] == "0"


def test_a_client_that_hangs_up_has_what_was_delivered_counted(file: LaneFile, metered: Metered) -> None:
    ended: list[int] = []

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield delta("word")
        finally:
            ended.append(1)

    answer = ask(metered(streams(parts()), units="tokens"), parts=5)
    assert answer.body.count(b"word") == 5
    assert ended
    assert stored_units(file) == [1, 4]


def test_a_stream_that_breaks_off_is_signed_for_what_was_delivered(file: LaneFile, metered: Metered) -> None:
    def parts() -> Iterator[bytes]:
        yield from CHAT[:3]
        raise RuntimeError("the model fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        ask(metered(streams(parts()), units="tokens"))
    assert stored_units(file) == [1, 2]


def test_a_stream_that_cannot_be_counted_is_refused_and_later_cut_off(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = metered(streams(repeat(delta("word"))), units="tokens", installment_every_s=0.05)
    ask(app, parts=1)
    result = iter(app(environ_of("/v1/x", "GET", b"", {}, ""), lambda *_: None))
    next(result)
    monkeypatch.setattr(Spool, "append", full)
    monkeypatch.setattr(Spool, "probe", full)
    with pytest.raises(SpoolFull):
        for _ in result:
            pass
    result.close()  # type: ignore[attr-defined]
    assert ask(app).status == 503


def test_receipts_are_handed_out_later(metered: Metered, file: LaneFile) -> None:
    app = metered(streams(CHAT), units="tokens")
    answer = ask(app)
    path = f"{RECEIPTS_PATH}0x{file.lane.hex()}/0"
    salt = {"usage-receipt-salt": answer.headers["usage-receipt-salt"]}
    shown = json.loads(ask(app, path, headers=salt).body)
    assert [one["seq"] for one in shown["receipts"]] == [0, 1]
    assert ask(app, path).status == 404


def test_threads_share_a_lane(file: LaneFile, metered: Metered) -> None:
    app = metered(hello)
    seqs: list[int] = []

    def many() -> None:
        for _ in range(25):
            seqs.extend(one.seq for one in ask(app).receipts)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seqs) == list(range(200))


def test_a_lane_that_cannot_be_opened_refuses_calls(tmp_path: Path) -> None:
    answer = ask(Meter.wsgi(hello, lane=tmp_path / "none.json"))
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "config_invalid")
    assert b"none.json" not in answer.body


def test_a_bad_option_is_refused_at_once(file: LaneFile) -> None:
    with pytest.raises(ConfigInvalid, match="must be 'refuse' or 'wait'"):
        Meter.wsgi(hello, lane=file.path, on_spool_full="serve")
