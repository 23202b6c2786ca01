"""Deployment files, shipped artifacts, the role table, and calls that need no chain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_chain import artifacts, calls, submissions
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deployment import Deployment
from usufruct_chain.roles import FUNCTION_ROLES
from usufruct_chain.sender import Sender
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import LocalSigner
from web3 import Web3

from tests.unit.chain.fake_endpoint import connection, some_deployment


def test_a_deployment_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    some_deployment().save(path)
    assert Deployment.load(path) == some_deployment()
    assert list(tmp_path.iterdir()) == [path], "no draft stays behind"


def test_lower_case_addresses_are_taken_and_written_with_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    content = {
        name: value.lower() if isinstance(value, str) else value
        for name, value in some_deployment().content().items()
    }
    path.write_text(json.dumps(content))
    assert Deployment.load(path) == some_deployment()


def test_a_file_from_before_the_later_contracts_is_read_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    some_deployment().save(path)
    assert "challenges" not in json.loads(path.read_text())
    contracts = Contracts(connection({}), Deployment.load(path))
    assert contracts.escrow.address == some_deployment().escrow
    for lacking in (contracts, contracts.views):
        with pytest.raises(ConfigInvalid, match="the deployment file names no challenges"):
            _ = lacking.challenges
        with pytest.raises(AttributeError, match="a deployment has no chalenges"):
            _ = lacking.chalenges


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"escrow": "0x1234"}, "escrow: not an address"),
        ({"escrow": 7}, "escrow"),
        ({"escrow": "0x00000000219ab540356cBB839Cbe05303d7705FA"}, "escrow: address .* wrong checksum"),
        ({"epoch_seconds": "600"}, "epoch_seconds must be an integer"),
        ({"chain_id": True}, "chain_id must be an integer"),
        ({"genesis_s": -1}, "genesis_s must be an integer >= 0"),
        ({"extra": 1}, r"unknown fields \['extra'\]"),
        ({"token": None}, "token"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps({**some_deployment().content(), **change}))
    with pytest.raises(ConfigInvalid, match=message) as refused:
        Deployment.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", "{"])
def test_a_file_that_is_no_deployment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"deployment\.json"):
        Deployment.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot read deployment file"):
        Deployment.load(tmp_path / "none.json")


def test_every_contract_ships_with_code() -> None:
    for name in artifacts.PLACES:
        artifact = artifacts.of_place(name)
        assert artifact.name == name
        assert len(bytes.fromhex(artifact.bytecode.removeprefix("0x"))) > 1_000
    assert artifacts.load_test(artifacts.TEST_TOKEN).abi
    with pytest.raises(ConfigInvalid, match="no compiled contract Nothing"):
        artifacts.load("Nothing")


def test_the_role_table_names_functions_that_exist() -> None:
    for name, functions in FUNCTION_ROLES.items():
        changing = {
            entry["name"]
            for entry in artifacts.load(name).abi
            if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
        }
        assert set(functions) <= changing


def test_a_test_token_is_deployed_on_dev_chains_only() -> None:
    w3 = connection({"web3_clientVersion": lambda: "Geth/v1.14.0-stable/linux-amd64/go1.22"})
    address = "0x" + "11" * 20
    config = DeployConfig(
        council=address,
        guardian=address,
        signers=(),
        community=address,
        platform=address,
        operators=address,
        custodian=address,
        remediation_fund=address,
        genesis_s=1,
        epoch_seconds=1,
        dispute_window_seconds=1,
        note_minimum=1,
        max_merge_delay_seconds=1,
    )
    with pytest.raises(ConfigInvalid, match="geth is not a dev chain"):
        deploy(Sender(w3, LocalSigner(bytes([1] * 32))), config)


def hashes() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=32, max_size=32)


def uints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


REPORTS = st.builds(
    EpochReport,
    epoch=uints(64),
    attempt=uints(32),
    previous_report_hash=hashes(),
    period_end=uints(64),
    cutoff_block=uints(64),
    cutoff_block_hash=hashes(),
    signer_set_version=uints(32),
    rule_version=uints(32),
    lanes_root=hashes(),
    lane_count=uints(32),
    notes_root=hashes(),
    notes_total=uints(96),
    note_count=uints(32),
    reserve_root=hashes(),
    reserve_total=uints(96),
    reserve_count=uints(32),
    consent_root=hashes(),
    roster_hash=hashes(),
    bundle_hash=hashes(),
    lines=st.lists(st.builds(ReportLine, uints(32), uints(128), uints(96)), max_size=4).map(tuple),
)
SETTLEMENT = Web3().eth.contract(
    address=some_deployment().settlement, abi=artifacts.load("UsageSettlement").abi
)  # type: ignore[call-overload]


def submit_data(report: EpochReport, blob: bytes) -> bytes:
    return bytes.fromhex(SETTLEMENT.encode_abi("submit", [calls.report_tuple(report), blob])[2:])


@given(
    report=REPORTS, blob=st.binary(max_size=200), before=st.binary(max_size=80), after=st.binary(max_size=80)
)
def test_a_posted_report_is_decoded_wherever_its_call_stands(
    report: EpochReport, blob: bytes, before: bytes, after: bytes
) -> None:
    wanted = epoch_report_hash(report)
    found = submissions.decode_submit(before + submit_data(report, blob) + after, wanted)
    assert found == (report, blob)


@given(report=REPORTS, other=REPORTS)
def test_only_the_report_of_the_wanted_hash_is_believed(report: EpochReport, other: EpochReport) -> None:
    both = submit_data(other, b"") + submit_data(report, b"x")
    assert submissions.decode_submit(both, epoch_report_hash(report)) == (
        report,
        b"" if other == report else b"x",
    )
    assert submissions.decode_submit(both, bytes(32)) is None


@given(st.binary(max_size=900))
def test_calldata_that_only_looks_like_a_report_is_passed_over(tail: bytes) -> None:
    selector = submit_data(REPORT, b"")[:4]
    assert submissions.decode_submit(selector + tail, bytes(32)) is None


REPORT = EpochReport(
    1, 0, bytes(32), 2, 3, bytes(32), 1, 1, bytes(32), 0, bytes(32), 0, 0, bytes(32), 0, 0,
    bytes(32), bytes(32), bytes(32), (),
)  # fmt: skip


def test_a_report_tuple_goes_there_and_back() -> None:
    report = replace(REPORT, lines=(ReportLine(1, 2, 3), ReportLine(4, 5, 6)))
    assert submissions.report_from_tuple(calls.report_tuple(report)) == report


def test_range_gas_leaves_room_within_a_block_and_a_transaction() -> None:
    assert [calls.range_gas(log2) for log2 in (0, 8)] == [350_000, 13_100_000]
    assert calls.range_gas(8) < 2**24, "EIP-7825 lets no transaction have more"
