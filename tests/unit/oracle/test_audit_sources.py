"""What cannot be checked is said so: no report, other rules, a bundle that nobody has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from usufruct_chain.onchain import SubmittedReport
from usufruct_oracle.audit.sources import BundleSources, examine
from usufruct_oracle.bundles.folder import BundleFolder
from usufruct_oracle.epochs.adoption import Adoption
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import Incompatible, InputRejected, Transient
from usufruct_protocol.report import RULE_VERSION

from tests.unit.oracle.test_bundle_folder import OURS, bundle, hash_of
from tests.unit.oracle.test_epoch_store import H, report


class Chain:
    """Reports by epoch, and nothing else."""

    def __init__(self, *versions: int) -> None:
        self._reports = [
            dataclasses.replace(report(epoch, hash_of(epoch)), rule_version=version)
            for epoch, version in enumerate(versions, 1)
        ]

    def submitted(self, epoch: int) -> SubmittedReport | None:
        if epoch > len(self._reports):
            return None
        return SubmittedReport(self._reports[epoch - 1], H, bytes(65), H, 1, 0)

    def read(self, _block_hash: bytes) -> None:
        return None


@pytest.fixture
def sources(tmp_path: Path) -> BundleSources:
    folder = BundleFolder(tmp_path, OURS)
    for epoch in (1, 2):
        folder.add(epoch, hash_of(epoch), bundle(epoch), [OURS.recipient])
    return BundleSources(folder=folder)


def test_reports_of_other_rules_are_neither_audited_nor_taken_over(
    sources: BundleSources, store: Store
) -> None:
    for versions, epoch in (((RULE_VERSION + 1,), 1), ((RULE_VERSION - 1, RULE_VERSION), 2)):
        chain = Chain(*versions)
        with pytest.raises(Incompatible, match=f"knows {RULE_VERSION}"):
            examine(chain, epoch, sources)  # type: ignore[arg-type]
    adoption = Adoption(store, Chain(RULE_VERSION + 1), None, 3)  # type: ignore[arg-type]
    with pytest.raises(Incompatible, match="rule version"):
        adoption.base(1, H)


def test_what_is_not_there_is_named(sources: BundleSources) -> None:
    chain = Chain(RULE_VERSION, RULE_VERSION, RULE_VERSION)
    with pytest.raises(InputRejected, match="epoch 9 has no report on chain"):
        examine(chain, 9, sources)  # type: ignore[arg-type]
    with pytest.raises(Transient, match="nobody reachable holds the whole bundle of epoch 3"):
        examine(chain, 3, sources)  # type: ignore[arg-type]


def test_a_damaged_file_of_the_epoch_before_is_not_this_epochs_fault(
    sources: BundleSources, tmp_path: Path
) -> None:
    entry = bundle(1).manifest["words.bin"]
    (tmp_path / "files" / entry.sha256.hex()).write_bytes(b"bent")
    chain = Chain(RULE_VERSION, RULE_VERSION)
    with pytest.raises(InputRejected, match="bundle of epoch 1 at hand is not the one that was signed"):
        examine(chain, 2, sources)  # type: ignore[arg-type]
    verdict = examine(chain, 1, sources)  # type: ignore[arg-type]
    assert verdict.difference is not None
    assert verdict.difference.where == "words.bin"
