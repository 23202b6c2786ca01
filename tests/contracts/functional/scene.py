"""What the functional tests share besides fixtures: numbers, time, reverts, and the nodes that report."""

from __future__ import annotations

from dataclasses import replace

import brownie
from brownie import chain, web3
from usufruct_protocol.report_types import EpochReport, ReportLine

from tests.contracts.lanes import SALT, LaneBook, commitment
from tests.contracts.system import (
    DISPUTE_SECONDS,
    EPOCH_SECONDS,
    FLOORS,
    FOREVER,
    MERGE_DELAY_SECONDS,
    NOTE_MINIMUM,
    TEMPLATE,
)
from tests.contracts.trees import RawTree
from tests.contracts.wire import SETTLEMENT, ZERO_HASH, as_abi, keccak, quorum_blob, typed_digest

NO_NOTES = RawTree([])

__all__ = [
    "DISPUTE_SECONDS",
    "EPOCH_SECONDS",
    "FLOORS",
    "FOREVER",
    "MERGE_DELAY_SECONDS",
    "NOTE_MINIMUM",
    "NO_NOTES",
    "TEMPLATE",
    "Gateway",
    "Nodes",
    "later",
    "now",
    "raw",
    "reveal",
    "reverts",
    "until",
]


def reverts(name):
    """Expect a transaction to revert with this custom error, whatever its arguments."""
    return brownie.reverts(revert_pattern=f"{name}: .*")


def now():
    """Time of the last block, in seconds."""
    return chain[-1].timestamp


def until(timestamp_s):
    """Mine a block at that time, or at once if it has passed; anvil refuses Brownie's own way to do so."""
    web3.provider.make_request("evm_setNextBlockTimestamp", [max(timestamp_s, now() + 1)])
    web3.provider.make_request("evm_mine", [])


def later(seconds):
    """Mine a block that many seconds after the last one."""
    until(now() + seconds)


def raw(who):
    """Somebody's address as 20 bytes."""
    return bytes.fromhex(str(who)[2:])


def reveal(contract, function, *evidence, by):
    """Commit to a proof, wait as long as that asks for, and show it; returns the transaction."""
    shown = getattr(contract, function)
    arguments = (*map(as_abi, evidence), SALT)
    contract.commit(commitment(by, bytes.fromhex(shown.encode_input(*arguments)[2:])), {"from": by})
    later(60)
    return shown(*arguments, {"from": by})


class Gateway(LaneBook):
    """One registered lane and its book."""

    def __init__(self, key, domain, number):
        super().__init__(key, domain)
        self.number = number

    def serve(self, units=1, issued_at_ms=None):
        """Meter one call: the lane's next receipt, issued now unless told otherwise."""
        return super().serve(units, now() * 1_000 if issued_at_ms is None else issued_at_ms)


class Nodes:
    """The oracle nodes: they build, sign and post reports."""

    def __init__(self, settlement, committee, signers, sender):
        self.settlement = settlement
        self.committee = committee
        self.signers = signers
        self.sender = sender

    def wait(self):
        """Let the open period end."""
        state = self.settlement.state()
        until(state["lastPeriodEnd"] + EPOCH_SECONDS)

    def wait_for_window(self):
        """Let the dispute window of the pending report pass."""
        until(self.settlement.state()["finalizableAt"])

    def report(self, lines=(), notes=NO_NOTES, **changes):
        """The next acceptable report; lines are (license, cumulative units, charge)."""
        state = self.settlement.state()
        cutoff = chain.height - 1
        plain = EpochReport(
            epoch=state["lastEpoch"] + 1,
            attempt=state["nextAttempt"],
            previous_report_hash=bytes(self.settlement.reportHash(state["lastEpoch"])),
            period_end=state["lastPeriodEnd"] + EPOCH_SECONDS,
            cutoff_block=cutoff,
            cutoff_block_hash=bytes(web3.eth.get_block(cutoff).hash),
            signer_set_version=self.committee.versionFor(state["lastEpoch"] + 1),
            rule_version=1,
            lanes_root=keccak(b"lanes"),
            lane_count=1,
            notes_root=notes.root,
            notes_total=notes.total,
            note_count=notes.count,
            reserve_root=ZERO_HASH,
            reserve_total=0,
            reserve_count=0,
            consent_root=keccak(b"consent"),
            roster_hash=keccak(b"rosters"),
            bundle_hash=keccak(b"bundle"),
            lines=tuple(ReportLine(*line) for line in lines),
        )
        return replace(plain, **changes)

    def digest(self, report):
        """What the signers sign."""
        return typed_digest(SETTLEMENT, chain.id, self.settlement.address, "EpochReport", report)

    def signatures(self, report, indices=(0, 1, 2)):
        """The quorum blob of these signers."""
        return quorum_blob(self.digest(report), self.signers, indices)

    def submit(self, report, indices=(0, 1, 2)):
        """Submit with the signatures of these signers."""
        return self.settlement.submit(as_abi(report), self.signatures(report, indices), {"from": self.sender})

    def post(self, lines=(), notes=NO_NOTES, **changes):
        """Wait for the period to end and submit its report; returns it."""
        self.wait()
        report = self.report(lines, notes, **changes)
        self.submit(report)
        return report

    def finalize(self, report):
        """Finalize; returns the transaction."""
        return self.settlement.finalize(as_abi(report), {"from": self.sender})

    def settle(self, lines=(), notes=NO_NOTES, **changes):
        """Post a report, let its window pass and finalize it; returns it."""
        report = self.post(lines, notes, **changes)
        self.wait_for_window()
        self.finalize(report)
        return report
