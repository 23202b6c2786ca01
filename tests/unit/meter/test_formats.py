"""CloudEvents in and out, and FOCUS: the sums are those of the receipts, and bad input changes nothing."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_meter.cli import main
from usufruct_meter.formats.cloudevents import (
    RECEIPT_TYPE,
    UsageMapping,
    decode_receipts,
    decode_usage,
    encode_batches,
)
from usufruct_meter.formats.focus import COLUMNS, FocusTerms, PeriodUsage, focus_rows, usage_by_period
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import verify_receipt_signature

from tests.unit.meter.lane_kit import EPOCH_SECONDS, GENESIS_S, Clock, new_lane

TOKENS = UsageMapping("tokens")
NOW_MS = 1_007_000


def event(**changes: Any) -> dict[str, Any]:
    whole = {
        "specversion": "1.0",
        "type": "prompt",
        "source": "/gateway",
        "id": "1",
        "time": "1970-01-01T00:16:45.123456Z",
        "data": {"tokens": 7},
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def batch(*events: Any) -> bytes:
    return json.dumps(events).encode()


# Receipts out and in


def test_receipts_go_out_and_come_back(lane: Lane) -> None:
    signed = lane.meter_many([MeteredCall(units) for units in (3, 0, 2**48 - 1)])
    first, second = encode_batches(signed, max_events=2)
    shown = json.loads(first)[0]
    assert (shown["source"], shown["id"], shown["specversion"]) == (f"0x{lane.address.hex()}", "0", "1.0")
    assert shown["time"] == "1970-01-01T00:16:45.000Z"
    assert shown["data"]["units"] == "3"
    back = decode_receipts(first) + decode_receipts(second)
    assert [receipt for receipt, _ in back] == [one.receipt for one in signed]
    for receipt, signature in back:
        verify_receipt_signature(receipt, signature, lane.domain)
    assert list(encode_batches([])) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "1"}, "source and id"),
        ({"source": "0x" + "11" * 20}, "source and id"),
        ({"source": "lane"}, "event 0"),
        ({"data": {}}, "data.receipt"),
        ({"data": None}, "data.receipt"),
        ({"data": {"receipt": "AAAA"}}, "event 0"),
        ({"data": {"receipt": 5}}, "data.receipt"),
    ],
)
def test_a_bent_receipt_event_is_refused(lane: Lane, change: dict[str, Any], says: str) -> None:
    (whole,) = json.loads(next(encode_batches([lane.meter(1)])))
    with pytest.raises(InputRejected, match=says):
        decode_receipts(batch(whole | change))


def test_events_of_other_types_are_no_receipts() -> None:
    assert decode_receipts(batch(event())) == []


# Usage in


def test_usage_is_taken_by_time_and_once_per_source_and_id(lane: Lane) -> None:
    calls = decode_usage(
        batch(
            event(id="b", time="1970-01-01T00:16:46Z", data={"tokens": "9"}),
            event(id="a"),
            event(id="b", source="/other", time="1970-01-01T01:16:47+01:00"),
            event(id="a", type="other"),
        ),
        UsageMapping("tokens", "prompt"),
        NOW_MS,
    )
    assert [(call.units, call.at_ms) for call in calls] == [(7, 1_005_123), (9, 1_006_000), (7, 1_007_000)]
    lane.meter_many(calls)
    assert [one.is_repeat for one in lane.meter_many(calls)] == [True, True, True]
    assert lane.cumulative_units == 23


def test_without_a_field_every_event_is_one_unit() -> None:
    (call,) = decode_usage(batch(event(data=None, time=None)), UsageMapping(), NOW_MS)
    assert (call.units, call.at_ms) == (1, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "JSON array"),
        (b"[1]", "event 0 is no object"),
        (batch(event(), event(specversion="0.3")), "event 1: specversion"),
        (batch(event(id="")), "event 0: id"),
        (batch(event(id=7)), "event 0: id"),
        (batch(event(source=None)), "event 0: source"),
        (batch(event(type=None)), "event 0: type"),
        (batch(event(time="yesterday")), "event 0: time"),
        (batch(event(time=5)), "event 0: time"),
        (batch(event(time="1969-12-31T23:59:59Z")), "event 0: time"),
        (batch(event(time="1970-01-01T00:17:48Z")), "event 0: its time .* lies ahead"),
        (batch(event(data={})), "data.tokens"),
        (batch(event(data=[])), "data.tokens"),
        (batch(event(data={"tokens": -1})), "data.tokens"),
        (batch(event(data={"tokens": 1.5})), "data.tokens"),
        (batch(event(data={"tokens": True})), "data.tokens"),
        (batch(event(data={"tokens": "٣"})), "data.tokens"),
        (batch(event(data={"tokens": "9" * 30})), "data.tokens"),
        (batch(*[event()] * 10_001), "at most 10000 events"),
        (b" " * (8 * 1024 * 1024 + 1), "at most 8388608 bytes"),
    ],
)
def test_bad_batches_are_refused_whole(content: bytes, says: str) -> None:
    with pytest.raises(InputRejected, match=says):
        decode_usage(content, TOKENS, NOW_MS)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["id", "source", "type", "specversion", "time", "data", "tokens"]), inner
            )
        ),
    )
)
def test_no_json_breaks_the_decoders(content: Any) -> None:
    for decode in (decode_receipts, lambda body: decode_usage(body, TOKENS, NOW_MS)):
        try:
            decode(batch(content))
        except InputRejected:
            continue


# FOCUS


MANDATORY = {
    *("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "PricingUnit"),
    *("BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart"),
    *("InvoiceIssuerName", "ServiceCategory", "ServiceName"),
    *("ProviderName", "PublisherName"),  # until 1.2
    *("HostProviderName", "ServiceProviderName"),  # from 1.3 on
}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 2**48 - 1)), max_size=20),
    st.integers(0, 2**96 - 1),
)
def test_costs_sum_to_what_the_contract_would_charge(
    tmp_path_factory: pytest.TempPathFactory, usage: list[tuple[int, int, int]], price: int
) -> None:
    files = (
        FILES
        or FILES.extend(new_lane(tmp_path_factory.mktemp("lanes"), number) for number in range(3))
        or FILES
    )
    rows = list(
        focus_rows(
            [PeriodUsage(files[lane], epoch, 1, units) for lane, epoch, units in usage],
            FocusTerms(price_per_million_units=price),
        )
    )
    units = sum(units for _, _, units in usage)
    assert sum(int(row["ConsumedQuantity"]) for row in rows) == units
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        total = sum(int(row[column].replace(".", "") + "0" * _missing(row[column])) for row in rows)
        assert total == units * price // 10**6


FILES: list[LaneFile] = []


def _missing(text: str) -> int:
    """How many of six decimals a cost does not show."""
    return 6 - len(text.partition(".")[2])


def test_a_row_says_what_focus_asks_for(lane: Lane) -> None:
    lane.meter(1_500)
    lane.meter(500)
    reader = SpoolReader.open(lane.file.spool)
    (row,) = focus_rows(
        usage_by_period(lane.file, reader), FocusTerms(price_per_million_units=2_500_000, unit="Tokens")
    )
    reader.close()
    assert tuple(row) == COLUMNS
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["x_Calls"]) == ("2000", "Tokens", "2")
    assert (row["BilledCost"], row["ListUnitPrice"]) == ("0.005", "0.0000025")
    assert Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ListCost"])
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "1970-01-01T00:16:40Z",
        "1970-01-01T00:16:50Z",
    )
    assert (row["BillingCurrency"], row["PricingCurrency"], row["ChargeCategory"]) == ("USD", "USDC", "Usage")
    assert set(COLUMNS) >= MANDATORY
    never_null = set(COLUMNS) - {"ChargeClass"}
    assert all(row[name] for name in never_null)
    assert not any(row[name] for name in set(COLUMNS) - never_null)


def test_usage_falls_into_its_period(tmp_path: Path) -> None:
    clock = Clock()
    file = new_lane(tmp_path)
    with Lane.open(file, clock_ms=clock) as lane:
        for units in (1, 2):
            lane.meter(units)
        clock.now = (GENESIS_S + 2 * EPOCH_SECONDS) * 1000
        lane.meter(4)
    reader = SpoolReader.open(file.spool)
    assert [(one.epoch, one.calls, one.units) for one in usage_by_period(file, reader)] == [
        (1, 2, 3),
        (3, 1, 4),
    ]
    reader.close()


# The commands


def test_the_commands_carry_usage_in_and_receipts_and_costs_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = new_lane(tmp_path / "lanes")
    usage = tmp_path / "usage.json"
    usage.write_bytes(batch(event(), event(id="2"), event(type="other", id="3")))
    command = [
        "import",
        "usage",
        str(file.path),
        str(usage),
        "--units",
        "tokens",
        "--type",
        "prompt",
        "--json",
    ]
    for metered, known in ((2, 0), (0, 2)):
        assert main(command) == 0
        (shown,) = json.loads(capsys.readouterr().out)
        assert shown == {"metered": metered, "units": str(7 * metered), "known_before": known}
    assert main(["export", "cloudevents", str(file.path)]) == 0
    out = capsys.readouterr().out
    assert {one["type"] for one in json.loads(out)} == {RECEIPT_TYPE}
    receipts = tmp_path / "receipts.json"
    receipts.write_text(out)
    assert main(["import", "receipts", str(file.path), str(receipts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"signed": 2, "units": "14"}]
    assert main(["export", "cloudevents", str(file.path), "--from-seq", "2"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["export", "focus", str(file.path), "--price", "1000000", "--unit", "Tokens"]) == 0
    (row,) = rows_of(capsys.readouterr().out)
    assert (row["ConsumedQuantity"], row["BilledCost"]) == ("14", "0.000014")


def test_the_commands_refuse_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other = new_lane(tmp_path / "lanes"), new_lane(tmp_path / "other", 1)
    new_lane(tmp_path / "lanes", 2, license_id=2)
    bad = tmp_path / "bad.json"
    bad.write_bytes(batch(event(), event(id="2", data={})))
    assert main(["import", "usage", str(file.path), str(bad), "--units", "tokens"]) == 2
    assert "event 1" in capsys.readouterr().err
    with Lane.open(file) as lane, Lane.open(other) as elsewhere:
        assert lane.count == 0
        (whole,) = json.loads(next(encode_batches([lane.meter(1)])))
        bad.write_bytes(next(encode_batches([elsewhere.meter(1)])))
    assert main(["import", "receipts", str(file.path), str(bad)]) == 2
    assert "none of these" in capsys.readouterr().err
    text = whole["data"]["receipt"]
    whole["data"]["receipt"] = text[:-4] + ("AAAA" if text[-4:] != "AAAA" else "BBBB")
    bad.write_bytes(batch(whole))
    assert main(["import", "receipts", str(file.path), str(bad)]) == 2
    assert main(["export", "focus", str(tmp_path / "lanes"), "--price", "1"]) == 2
    assert "several licenses" in capsys.readouterr().err
