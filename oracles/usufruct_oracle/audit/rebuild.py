"""Rebuild a posted report from its bundle and the chain, and name the first thing that differs.

Nothing of the node that signed is trusted: the report is taken from the chain, the bundle is believed because
it hashes to what the report commits to, and everything derived is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from usufruct_protocol.bundle import (
    ACCRUALS,
    CARRIED,
    INCOME,
    LANES,
    LINES,
    PUBLIC_FILES,
    RESTRICTED_FILES,
    ROSTERS,
    USAGE,
    WORDS,
    bundle_hash,
    manifest_hash,
    unpack_lanes,
    unpack_rosters,
)
from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.errors import InputRejected, InvariantBroken
from usufruct_protocol.report import BuiltReport, ReportInputs, build_report
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.usage import unpack_usage

from usufruct_oracle.context import Base
from usufruct_oracle.wire_json import FileEntry, hexed

BUNDLE_FILES = (*PUBLIC_FILES, *RESTRICTED_FILES)
_DERIVED = (LINES, WORDS, INCOME, ACCRUALS, CARRIED)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as it should be: where, what was expected, what was found."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """What an audit compares.

    report:   as posted on chain
    chain:    the chain at the report's cut-off block
    base:     the state after the epoch before, from a bundle that was checked against its own report
    files:    the bundle under audit, by name
    manifest: the file list that the bundle had when it was signed, if it is known; it names an altered file
    """

    report: EpochReport
    chain: ChainState
    base: Base
    files: Mapping[str, bytes]
    manifest: Mapping[str, FileEntry]


def first_difference(inputs: AuditInputs) -> Difference | None:
    """Return the first difference between a report and what its bundle and the chain make of it, or None."""
    return next(_differences(inputs), None)


def altered_file(
    report: EpochReport, files: Mapping[str, bytes], manifest: Mapping[str, FileEntry]
) -> Difference | None:
    """Return the first file that is missing, or not the one of the signed file list, or None."""
    return next(_altered_files(report, files, manifest), None)


def _differences(inputs: AuditInputs) -> Iterator[Difference]:
    yield from _frame(inputs)
    yield from _altered_files(inputs.report, inputs.files, inputs.manifest)
    try:
        built = rebuild(inputs)
    except (InputRejected, InvariantBroken) as error:
        yield Difference("rebuilding the report", "a report", str(error))
        return
    for name in _DERIVED:
        if built.bundle[name] != inputs.files.get(name):
            yield Difference(name, _digest(built.bundle[name]), _digest(inputs.files.get(name)))
    yield from _report_fields(built.report, inputs.report)
    found = bundle_hash(inputs.files)
    if found != inputs.report.bundle_hash:
        yield Difference("bundle hash", hexed(inputs.report.bundle_hash), hexed(found))


def rebuild(inputs: AuditInputs) -> BuiltReport:
    """Compute the report again from the bundle's inputs. Raises: InputRejected, InvariantBroken."""
    files = inputs.files
    missing = [name for name in (LANES, ROSTERS, USAGE) if name not in files]
    if missing:
        raise InputRejected(f"the bundle has no {missing[0]}")
    return build_report(
        ReportInputs(
            inputs.chain,
            inputs.report.attempt,
            unpack_lanes(files[LANES]),
            unpack_usage(files[USAGE]),  # what was carried is in it already
            unpack_rosters(files[ROSTERS]),
            inputs.base.accruals,
            allocated_income=inputs.base.allocated_income,
            last_rosters=inputs.base.rosters_for(inputs.chain),
        )
    )


def _frame(inputs: AuditInputs) -> Iterator[Difference]:
    """The report against the chain at its cut-off, before any bundle is looked at."""
    report, chain = inputs.report, inputs.chain
    pairs = (
        ("epoch", chain.epoch, report.epoch),
        ("period_end", chain.period_end_s, report.period_end),
        ("cutoff_block", chain.cutoff_block, report.cutoff_block),
        ("previous_report_hash", chain.previous_report_hash, report.previous_report_hash),
        ("signer_set_version", chain.signer_set_version, report.signer_set_version),
        ("base of the epoch before", chain.previous_report_hash, inputs.base.report_hash),
    )
    for name, expected, found in pairs:
        if expected != found:
            yield Difference(name, _shown(expected), _shown(found))
    for lane, head in inputs.base.heads.items():
        if lane not in {state.lane for state in chain.lanes}:
            yield Difference(
                f"lane {hexed(lane)}", "a registered lane", f"none, but {head.count} receipts counted"
            )


def _altered_files(
    report: EpochReport, files: Mapping[str, bytes], manifest: Mapping[str, FileEntry]
) -> Iterator[Difference]:
    """Files that are not those of the signed manifest, if one is at hand that hashes to the bundle hash."""
    for name in BUNDLE_FILES:
        if name not in files:
            yield Difference(name, "a file", "none")
    entries = {name: (entry.sha256, entry.size) for name, entry in manifest.items()}
    if not entries or manifest_hash(entries) != report.bundle_hash:
        return
    for name in sorted(files.keys() | entries.keys()):
        body = files.get(name)
        expected = entries.get(name)
        if body is None or expected is None or hashlib.sha256(body).digest() != expected[0]:
            listed = "no such file" if expected is None else f"sha256 {expected[0].hex()}"
            yield Difference(name, listed, _digest(body))


def _report_fields(expected: EpochReport, found: EpochReport) -> Iterator[Difference]:
    for field in fields(EpochReport):
        ours, theirs = getattr(expected, field.name), getattr(found, field.name)
        if ours == theirs:
            continue
        if field.name != "lines":
            yield Difference(field.name, _shown(ours), _shown(theirs))
            continue
        for number in range(max(len(ours), len(theirs))):
            mine = ours[number] if number < len(ours) else None
            other = theirs[number] if number < len(theirs) else None
            if mine != other:
                yield Difference(f"line {number}", str(mine), str(other))


def _digest(body: bytes | None) -> str:
    return "no file" if body is None else f"sha256 {hashlib.sha256(body).hexdigest()}"


def _shown(value: object) -> str:
    return hexed(value) if isinstance(value, bytes) else str(value)
