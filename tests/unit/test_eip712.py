"""Hand-laid EIP-712 equals eth-account's general encoder, for any values and for the golden ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol import considerations, eip712
from usufruct_protocol.considerations import (
    AuditCorrection,
    MilestoneReached,
    RedemptionReceipt,
    RevenueStatement,
)
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import Checkpoint, CheckpointAck, UsageReceipt, settlement_domain
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import address_of, recover, sign_digest
from usufruct_protocol.terms import LaneRegistration, LicenseOffer, NoteRedirect

from tests.reference import typed_data
from tests.vectors import make_eip712

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "eip712.json").read_text())

Build = Callable[..., Any]
BUILD: Mapping[str, Build] = {
    "UsageReceipt": UsageReceipt,
    "Checkpoint": Checkpoint,
    "CheckpointAck": CheckpointAck,
    "ReportLine": ReportLine,
    "EpochReport": EpochReport,
    "LicenseOffer": LicenseOffer,
    "LaneRegistration": LaneRegistration,
    "NoteRedirect": NoteRedirect,
    "MilestoneReached": MilestoneReached,
    "RevenueStatement": RevenueStatement,
    "AuditCorrection": AuditCorrection,
    "RedemptionReceipt": RedemptionReceipt,
}
HASH: Mapping[str, Callable[[Any], bytes]] = {
    "UsageReceipt": UsageReceipt.struct_hash,
    "Checkpoint": Checkpoint.struct_hash,
    "CheckpointAck": CheckpointAck.struct_hash,
    "EpochReport": eip712.epoch_report_hash,
    "LicenseOffer": eip712.license_offer_hash,
    "LaneRegistration": eip712.lane_registration_hash,
    "NoteRedirect": eip712.note_redirect_hash,
    "MilestoneReached": MilestoneReached.struct_hash,
    "RevenueStatement": RevenueStatement.struct_hash,
    "AuditCorrection": AuditCorrection.struct_hash,
    "RedemptionReceipt": RedemptionReceipt.struct_hash,
}
TYPES = {
    "UsageReceipt": eip712.USAGE_RECEIPT_TYPE,
    "Checkpoint": eip712.CHECKPOINT_TYPE,
    "CheckpointAck": eip712.CHECKPOINT_ACK_TYPE,
    "EpochReport": eip712.EPOCH_REPORT_TYPE,
    "LicenseOffer": eip712.LICENSE_OFFER_TYPE,
    "LaneRegistration": eip712.LANE_REGISTRATION_TYPE,
    "NoteRedirect": eip712.NOTE_REDIRECT_TYPE,
    "MilestoneReached": considerations.MILESTONE_REACHED_TYPE,
    "RevenueStatement": considerations.REVENUE_STATEMENT_TYPE,
    "AuditCorrection": considerations.AUDIT_CORRECTION_TYPE,
    "RedemptionReceipt": considerations.REDEMPTION_RECEIPT_TYPE,
}
signed_structs = pytest.mark.parametrize("struct", sorted(HASH))


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Any value of a member's type, its corners often."""
    if kind == "address":
        return st.binary(min_size=20, max_size=20)
    if kind == "bytes32":
        return st.binary(min_size=32, max_size=32)
    if kind.endswith("[]"):
        return st.lists(messages(kind.removesuffix("[]")), max_size=4)
    highest = 2 ** int(kind.removeprefix("uint")) - 1
    return st.one_of(st.integers(0, highest), st.sampled_from([0, highest]))


def messages(struct: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: values_of(kind) for name, kind in typed_data.members(struct)})


def built(struct: str, message: Mapping[str, Any]) -> Any:
    """The dataclass of a message; only the order of members is taken from the types, names must fit."""
    fields = {typed_data.snake_case(name): value for name, value in message.items()}
    if struct == "EpochReport":
        fields["lines"] = tuple(built("ReportLine", line) for line in message["lines"])
    return BUILD[struct](**fields)


@signed_structs
@given(st.data(), st.integers(0, 2**64), st.binary(min_size=20, max_size=20))
def test_every_digest_equals_eth_accounts(
    struct: str, data: st.DataObject, chain_id: int, contract: bytes
) -> None:
    message = data.draw(messages(struct))
    domain = typed_data.DOMAINS[struct]
    expected = typed_data.hash_typed(domain, chain_id, contract, struct, message)
    separator = eip712.domain_separator(domain, eip712.DOMAIN_VERSION, chain_id, contract)
    struct_hash = HASH[struct](built(struct, message))
    assert separator == expected.domain_separator
    assert struct_hash == expected.struct_hash
    assert eip712.typed_digest(separator, struct_hash) == expected.digest


@signed_structs
def test_type_strings_are_those_of_the_specification(struct: str) -> None:
    assert TYPES[struct] == typed_data.type_string(struct)


@signed_structs
def test_golden_hashes_digests_and_signatures(struct: str) -> None:
    golden = GOLDEN["structs"][struct]
    key, contract = unhex(GOLDEN["privateKey"]), unhex(GOLDEN["verifyingContract"])
    separator = eip712.domain_separator(golden["domain"], "1", int(GOLDEN["chainId"]), contract)
    assert separator == unhex(golden["domainSeparator"])
    assert eip712.type_hash(golden["type"]) == unhex(golden["typeHash"])
    for case in golden["cases"]:
        struct_hash = HASH[struct](built(struct, from_json(struct, case["message"])))
        digest = eip712.typed_digest(separator, struct_hash)
        assert struct_hash == unhex(case["structHash"])
        assert digest == unhex(case["digest"])
        assert sign_digest(key, digest) == unhex(case["signature"])
        assert recover(digest, unhex(case["signature"])) == address_of(key) == unhex(GOLDEN["signer"])


def test_golden_file_is_what_its_maker_makes() -> None:
    assert make_eip712.vectors() == GOLDEN


def test_only_what_auditors_sign_is_not_hashed_here() -> None:
    """The contract is held to its golden digest, in tests/contracts/evm/test_golden_digests.py."""
    assert GOLDEN["structs"].keys() - HASH.keys() == {"AuditFinding"}


def from_json(struct: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Undo the JSON form: hex to bytes, decimal strings to ints."""
    result: dict[str, Any] = {}
    for name, kind in typed_data.members(struct):
        value = message[name]
        if kind.endswith("[]"):
            result[name] = [from_json(kind.removesuffix("[]"), item) for item in value]
        else:
            result[name] = int(value) if kind.startswith("uint") else unhex(value)
    return result


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@signed_structs
@given(st.data())
def test_a_member_out_of_range_is_refused_by_name(struct: str, data: st.DataObject) -> None:
    """A value that would be truncated or shifted into its neighbor must never be hashed."""
    message = data.draw(messages(struct))
    plain = [(name, kind) for name, kind in typed_data.members(struct) if not kind.endswith("[]")]
    name, kind = data.draw(st.sampled_from(plain))
    if kind.startswith("uint"):
        width = int(kind.removeprefix("uint"))
        message[name] = data.draw(st.sampled_from([-1, 2**width, 2**256, True, 1.0, "1", b"\1"]))
    else:
        message[name] = data.draw(
            st.sampled_from([b"", bytes(19), bytes(21), bytes(31), bytes(33), "0x00", 7])
        )
    with pytest.raises(InputRejected, match=name):
        HASH[struct](built(struct, message))


@pytest.mark.parametrize("field", ["license_id", "cumulative_units", "charge"])
def test_a_report_line_out_of_range_is_refused(field: str) -> None:
    values = {"license_id": 1, "cumulative_units": 1, "charge": 1, field: 2**128}
    with pytest.raises(InputRejected):
        eip712.report_line_hash(ReportLine(**values))


@given(messages("EpochReport"))
def test_order_of_lines_is_part_of_the_report(message: dict[str, Any]) -> None:
    report = built("EpochReport", message)
    lines = (ReportLine(1, 10, 10), ReportLine(2, 20, 20))
    one = eip712.epoch_report_hash(replace_lines(report, lines))
    assert one != eip712.epoch_report_hash(replace_lines(report, lines[::-1]))
    assert one != eip712.epoch_report_hash(replace_lines(report, lines[:1]))


def replace_lines(report: EpochReport, lines: tuple[ReportLine, ...]) -> EpochReport:
    values = {name: getattr(report, name) for name in EpochReport.__slots__}
    return EpochReport(**{**values, "lines": lines})


def test_settlement_domain_is_the_domain_of_receipts_and_reports() -> None:
    contract = b"\x11" * 20
    assert settlement_domain(10, contract) == eip712.domain_separator(
        "Usufruct Settlement", "1", 10, contract
    )
    assert settlement_domain(10, contract) != settlement_domain(11, contract)
    assert settlement_domain(10, contract) != settlement_domain(10, b"\x12" * 20)
