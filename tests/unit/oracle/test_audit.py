"""The audit: silent about what is right, and naming what is not."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from usufruct_oracle.audit.rebuild import BUNDLE_FILES, AuditInputs, Difference, first_difference
from usufruct_oracle.context import Base
from usufruct_oracle.wire_json import FileEntry
from usufruct_protocol.bundle import LINES, USAGE, WORDS, bundle_hash, pack_rosters
from usufruct_protocol.report import ReportInputs, build_report
from usufruct_protocol.report_types import ReportLine

from tests.unit.test_report import inputs


def audited(given_inputs: ReportInputs) -> AuditInputs:
    built = build_report(given_inputs)
    chain = given_inputs.chain
    base = Base(
        chain.epoch - 1,
        chain.previous_report_hash,
        given_inputs.accruals,
        given_inputs.carried,
        {},
        given_inputs.allocated_income,
        pack_rosters(given_inputs.last_rosters),
    )
    manifest = {
        name: FileEntry(hashlib.sha256(body).digest(), len(body)) for name, body in built.bundle.items()
    }
    return AuditInputs(built.report, chain, base, built.bundle, manifest)


def altered(whole: AuditInputs, name: str, body: bytes) -> AuditInputs:
    return dataclasses.replace(whole, files={**whole.files, name: body})


@given(inputs())
def test_a_true_report_passes(given_inputs: ReportInputs) -> None:
    assert set(audited(given_inputs).files) == set(BUNDLE_FILES)
    assert first_difference(audited(given_inputs)) is None


@given(inputs(), st.sampled_from(BUNDLE_FILES), st.integers(0, 2**32), st.booleans())
def test_any_altered_byte_is_found_and_the_manifest_names_the_file(
    given_inputs: ReportInputs, name: str, position: int, has_manifest: bool
) -> None:
    whole = audited(given_inputs)
    body = bytearray(whole.files[name] or b"\0")
    body[position % len(body)] ^= 1 + position % 255
    wrong = altered(whole, name, bytes(body))
    if not has_manifest:
        wrong = dataclasses.replace(wrong, manifest={})
    difference = first_difference(wrong)
    assert difference is not None
    if has_manifest:
        assert difference.where == name


@given(inputs(), st.sampled_from(BUNDLE_FILES))
def test_a_missing_file_is_named(given_inputs: ReportInputs, name: str) -> None:
    whole = audited(given_inputs)
    files = {other: body for other, body in whole.files.items() if other != name}
    difference = first_difference(dataclasses.replace(whole, files=files))
    assert difference is not None
    assert difference.where == name


@given(inputs())
def test_signers_who_pay_themselves_within_the_totals_are_found(given_inputs: ReportInputs) -> None:
    """Quorum-signed, consistent hashes, right sums: only building it again shows the theft."""
    whole = audited(given_inputs)
    words = whole.files[WORDS]
    stolen = b"\xee" * 20 + (words[20:] or bytes(11) + b"\x01")
    files = {**whole.files, WORDS: stolen}
    manifest = {name: FileEntry(hashlib.sha256(body).digest(), len(body)) for name, body in files.items()}
    report = dataclasses.replace(whole.report, bundle_hash=bundle_hash(files))
    difference = first_difference(dataclasses.replace(whole, report=report, files=files, manifest=manifest))
    assert difference is not None
    assert difference.where == WORDS


CHANGES: dict[str, dict[str, Any]] = {
    "notes_root": {"notes_root": b"\x09" * 32},
    "reserve_total": {"reserve_total": 2**95},
    "lane_count": {"lane_count": 77},
    "cutoff_block": {"cutoff_block": 1},
    "previous_report_hash": {"previous_report_hash": b"\x08" * 32},
    "rule_version": {"rule_version": 9},
    "line 0": {"lines": (ReportLine(99, 1, 1),)},
}


@given(inputs())
def test_a_report_that_says_something_else_is_named_by_field(given_inputs: ReportInputs) -> None:
    whole = audited(given_inputs)
    for where, change in CHANGES.items():
        report = dataclasses.replace(whole.report, **change)
        difference = first_difference(dataclasses.replace(whole, report=report))
        assert difference is not None
        assert difference.where == where


def test_a_difference_reads_as_a_sentence() -> None:
    assert str(Difference(LINES, "sha256 aa", "no file")) == "lines.bin: expected sha256 aa, found no file"
    assert USAGE in BUNDLE_FILES
