"""Log lines: one event each, machine-readable, and without anything that grants access."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from usufruct_oracle.logs import LogFormat, Redactor, configure, secrets_of, url_secrets

KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Endpoints:
    """Settings of any shape: what counts is that a URL stands in them somewhere."""

    rpc_urls: tuple[str, ...]
    database: str
    peers: dict[bytes, str]
    port: int = 1


@pytest.fixture
def root_logging() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(log_format: LogFormat, redact: Redactor | None = None) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    configure("info", log_format, redact, stream)
    return logging.getLogger("usufruct_oracle.somewhere"), stream


@pytest.mark.usefixtures("root_logging")
def test_a_json_line_carries_the_event_and_its_fields() -> None:
    log, stream = logged(LogFormat.JSON)
    log.warning("refused a batch: %s", "gap", extra={"code": "gap", "lane": b"\x01\x02", "seq": 2**63})
    line = json.loads(stream.getvalue())
    assert line["time"].endswith("Z")
    assert {name: line[name] for name in ("level", "logger", "event", "code", "lane", "seq")} == {
        "level": "warning",
        "logger": "usufruct_oracle.somewhere",
        "event": "refused a batch: gap",
        "code": "gap",
        "lane": "0x0102",
        "seq": 2**63,
    }


@pytest.mark.usefixtures("root_logging")
@pytest.mark.parametrize("log_format", list(LogFormat))
def test_an_event_is_one_line_whatever_somebody_sent(log_format: LogFormat) -> None:
    log, stream = logged(log_format)
    log.info("peer says %s", "fine\n2026-01-01T00:00:00.000Z CRITICAL root: HALTED\u2028\x1b[2J")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.usefixtures("root_logging")
def test_a_field_cannot_replace_what_a_line_says_of_itself() -> None:
    log, stream = logged(LogFormat.JSON)
    log.info("look", extra={"level": "critical", "time": 1, "event": "other"})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"], line["level_"], line["event_"]) == (
        "info",
        "look",
        "critical",
        "other",
    )


@pytest.mark.usefixtures("root_logging")
@pytest.mark.parametrize("log_format", list(LogFormat))
def test_secrets_of_the_settings_never_reach_a_line(log_format: LogFormat) -> None:
    settings = Endpoints(
        (f"https://chain.example/v3/{KEY}", f"https://other.example/?apikey={KEY[::-1]}"),
        "postgresql://node:pass%22word@db.example/usufruct",
        {b"\x01": "https://peer:hunter22@n5.example"},
    )
    log, stream = logged(log_format, Redactor(secrets_of(settings)))
    try:
        raise ConnectionError(f"GET {settings.rpc_urls[0]} and {settings.database}")
    except ConnectionError:
        log.exception(
            "failed at %s",
            settings.rpc_urls[1],
            extra={"peer": settings.peers[b"\x01"], "tried": ['pass"word', {"url": settings.rpc_urls[0]}]},
        )
    text = stream.getvalue()
    for secret in (KEY, KEY[::-1], "pass%22word", 'pass"word', 'pass\\"word', "hunter22"):
        assert secret not in text
    for shown in ("chain.example", "other.example", "db.example", "n5.example", "ConnectionError"):
        assert shown in text


@pytest.mark.usefixtures("root_logging")
def test_objects_show_their_type_only() -> None:
    log, stream = logged(LogFormat.JSON)
    log.info("wired", extra={"settings": Endpoints((), "", {})})
    assert json.loads(stream.getvalue())["settings"] == "<Endpoints>"


def test_plain_addresses_hold_no_secret() -> None:
    assert url_secrets("http://127.0.0.1:8545") == []
    assert Redactor(url_secrets("http://127.0.0.1:8545/?a=b"))("a=b") == "a=b"
    assert KEY not in repr(Redactor([KEY]))
