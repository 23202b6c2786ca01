"""The commands: one JSON document on stdout, hint and code on stderr, an exit code that says what next."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.cli import main
from usufruct_meter.http.request import request_sha256
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_meter.verify import ReceiptBook
from usufruct_protocol.eip712 import domain_separator, lane_registration_hash, typed_digest
from usufruct_protocol.signing import checksum_address, recover
from usufruct_protocol.terms import LaneRegistration

from tests.unit.meter.lane_kit import CHAIN_ID, SETTLEMENT, lane_key, new_lane

DOMAIN = ["--chain-id", str(CHAIN_ID), "--settlement", checksum_address(SETTLEMENT)]
REGISTRY = bytes.fromhex("4e") + bytes(18) + b"\x02"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Return the exit code and the JSON document of a command."""
    code = main([*arguments, "--json"])
    out, _ = capsys.readouterr()
    return code, json.loads(out) if out else None


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code and the error of a command, which must end with a hint and a code."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ")
    assert lines[-1].endswith("]")
    return code, err


@pytest.fixture
def used(tmp_path: Path) -> tuple[LaneFile, list[str]]:
    """A lane with three receipts, closed."""
    file = new_lane(tmp_path / "lanes", nodes=("http://127.0.0.1:9",))
    with Lane.open(file) as lane:
        texts = [lane.meter(2, [(bytes(32), 1)] * (n % 2), b"q").text for n in range(3)]
    return file, texts


def test_lane_new_makes_a_lane_that_meters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = run(
        capsys,
        "lane", "new", str(tmp_path / "lanes"), "--license", "7", *DOMAIN,
        "--genesis", "1000", "--epoch-seconds", "10", "--valid-to", "99", "--unit-cap", "12",
        "--registry", checksum_address(REGISTRY),
    )  # fmt: skip
    assert code == 0
    file = LaneFile.load(made[0]["lane_file"])
    assert checksum_address(file.lane) == made[0]["lane"]
    given = made[0]["registration"]
    registration = LaneRegistration(file.lane, 7, 0, 99, 12)
    assert (given["validFrom"], given["validTo"], given["unitCap"]) == ("0", "99", "12")
    digest = typed_digest(
        domain_separator("Usufruct Licenses", "1", CHAIN_ID, REGISTRY), lane_registration_hash(registration)
    )
    assert recover(digest, bytes.fromhex(given["laneSignature"][2:])) == file.lane
    with Lane.open(file) as lane:
        assert lane.meter(1, at_ms=5).receipt.seq == 0


def test_no_command_shows_the_key(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, texts = used
    path = str(file.path)
    for command in (
        ["lane", "show", path],
        ["status", path],
        ["check", path],
        ["verify-receipt", *DOMAIN, texts[0]],
    ):
        assert main(command) == 0
    out, err = capsys.readouterr()
    assert lane_key(0).hex() not in (out + err).lower()


def test_status_says_how_far_everything_is(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = used
    code, (status,) = run(capsys, "status", str(file.path.parent))
    assert code == 0
    assert status["count"] == status["checkpointed_count"] == 3
    assert status["cumulative_units"] == "6"
    assert not status["is_in_use"]
    assert status["nodes"] == [{"url": "http://127.0.0.1:9", "acked_count": None}]
    with Lane.open(file):
        assert run(capsys, "status", str(file.path))[1][0]["is_in_use"]


def test_check_passes_a_good_lane_even_in_use(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = used
    with Lane.open(file) as lane:
        lane.meter(1)
        code, lines = run(capsys, "check", str(file.path))
    assert code == 0
    assert {line["what"]: line["level"] for line in lines} == {
        "key": "ok",
        "spool": "ok",
        "in use": "ok",
        "chain": "warn",
    }
    assert any(line["detail"] == "4 receipts, 7 units, 3 under checkpoints" for line in lines)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE receipts SET signature = zeroblob(65) WHERE seq = 1",
        "UPDATE receipts SET record = zeroblob(104) WHERE seq = 1",
        "UPDATE openings SET opening = zeroblob(72)",
        "DELETE FROM openings",
        "DELETE FROM receipts WHERE seq = 1",
        "UPDATE checkpoints SET signature = zeroblob(65)",
        "UPDATE lane SET stopped_because = 'a node holds more'",
    ],
)
def test_check_finds_what_is_wrong(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    file, _ = used
    with sqlite3.connect(file.spool) as db:
        db.execute(damage)
    db.close()
    code, lines = run(capsys, "check", str(file.path))
    assert code == 1
    assert [line["what"] for line in lines if line["level"] == "fail"] == ["spool"]


def test_check_finds_a_missing_spool_and_an_open_key(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = used
    file.spool.unlink()
    file.key_file.chmod(0o644)
    assert main(["check", str(file.path)]) == 1
    out, _ = capsys.readouterr()
    assert "chmod 600" in out
    assert "is missing" in out
    assert "Not ready with 0 warnings, 2 failures." in out


def test_verify_receipt_checks_signature_and_request(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, texts = used
    code, receipts = run(capsys, "verify-receipt", *DOMAIN, *texts)
    assert code == 0
    assert [receipt["seq"] for receipt in receipts] == [0, 1, 2]
    forged = texts[0][:-1] + ("A" if texts[0][-1] != "A" else "B")
    for domain, text in (
        (DOMAIN, forged),
        (DOMAIN, "nonsense"),
        (["--chain-id", "1", *DOMAIN[2:]], texts[0]),
    ):
        code, findings = run(capsys, "verify-receipt", *domain, text)
        assert (code, findings[0]["verdict"]) == (1, "differs")
    body = tmp_path / "body"
    body.write_bytes(b"question")
    digest = request_sha256("POST", "/v1/ask?k=1", b"question", "key")
    with Lane.open(file) as lane:
        (signed,) = lane.meter_many([MeteredCall(1, request_sha256=digest)])
    about = ["--salt", signed.request_salt.hex(), "--body", str(body), "--idempotency-key", "key"]
    for target, expected in (("/v1/ask?k=1", (0, "signed")), ("/v1/ask?k=2", (1, "differs"))):
        request = ["--request", f"POST {target}"]
        code, findings = run(capsys, "verify-receipt", *DOMAIN, signed.text, *about, *request)
        assert (code, findings[0]["verdict"]) == expected
    assert "is for another request" in findings[0]["detail"]


def test_a_book_keeps_receipts_and_names_a_bad_line(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, texts = used
    book = ReceiptBook(tmp_path / "book.jsonl")
    for text in texts:
        book.keep(text)
    assert run(capsys, "verify-receipt", *DOMAIN, "--book", str(tmp_path / "book.jsonl"))[0] == 0
    with (tmp_path / "book.jsonl").open("a") as file:
        file.write('{"text": 5}\n')
    code, err = fails(capsys, "verify-receipt", *DOMAIN, "--book", str(tmp_path / "book.jsonl"))
    assert code == 2
    assert "book.jsonl:4" in err


def test_ship_leaves_a_lane_in_use_to_its_meter(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = used
    with Lane.open(file):
        assert main(["ship", str(file.path)]) == 0
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["status", "/nowhere/lane.json"], 2, "No such file"),
        (["verify-receipt", *DOMAIN], 2, "no receipt given"),
        (["verify-receipt", *DOMAIN, "x", "--epoch", "3"], 2, "go together"),
        (["verify-receipt", *DOMAIN, "x", "--salt", "00"], 2, "go together"),
        (["verify-receipt", *DOMAIN, "--book", "/nowhere/book"], 2, "No such file"),
        (
            ["lane", "new", "/nowhere", "--license", "0", *DOMAIN, "--genesis", "0", "--epoch-seconds", "1"],
            2,
            "license_id",
        ),
    ],
)
def test_a_wrong_command_says_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    found, err = fails(capsys, *arguments)
    assert found == code
    assert says in err


@pytest.mark.parametrize(
    "arguments", [[], ["lane"], ["lane", "new"], ["verify-receipt", "--settlement", "0x1"]]
)
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_doubtful_spool_needs_a_person(
    used: tuple[LaneFile, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, _ = used
    copy = tmp_path / "copy"
    copy.write_bytes(file.spool.read_bytes())
    copy.replace(file.spool)
    code, err = fails(capsys, "ship", str(file.path))
    assert code == 4
    assert "start a new lane" in err
    assert "[spool_copied]" in err
