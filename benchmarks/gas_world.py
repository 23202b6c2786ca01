"""A deployment on a throw-away anvil, driven step by step, where each step returns the gas it used."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from usufruct_chain import artifacts
from usufruct_protocol import eip712
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import address_of, sign_digest, to_compact
from usufruct_protocol.sumtree import NoteTree, note_word
from usufruct_protocol.terms import LicenseOffer, NoteRedirect

ANVIL = Path(__file__).resolve().parent.parent / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
CHAIN_ID = 31337
GENESIS_S = 1_800_000_000
EPOCH_SECONDS = 86_400
DISPUTE_WINDOW_SECONDS = 3_600
SIGNERS = 7
SIGNATURES = 5
GUARDIAN_ROLE = 1
FAR_FUTURE_S = 2**40
GAS_LIMIT = 16_000_000
CHARGE_BASE_UNITS = 5 * 10**12
"""Drawn per license and epoch: enough for half a million notes of a few dollars each."""


class GasWorld:
    """Contracts, keys and one funded license per number from 1; license i is charged in every report it is in."""

    def __init__(self, w3: Web3, license_count: int) -> None:
        self._w3 = w3
        self._admin, self._buyer, self._guardian, self._anyone = w3.eth.accounts[:4]
        self._signer_keys = sorted((_key(f"signer {i}") for i in range(SIGNERS)), key=address_of)
        self._epoch = 0
        self._reports = 0
        self._period_end_s = GENESIS_S
        self._previous_hash = bytes(32)
        self._units = dict.fromkeys(range(1, 1 + license_count), 0)
        self._deploy()
        for license_id in self._units:
            self._open_license(license_id)

    @classmethod
    @contextmanager
    def started(cls, license_count: int) -> Iterator[Self]:
        """Start anvil on a free port, deploy, and stop anvil again."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            str(ANVIL), "--silent", "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID),
            "--hardfork", "cancun", "--timestamp", str(GENESIS_S),
        ]  # fmt: skip
        process = subprocess.Popen(command)
        try:
            w3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
            while not w3.is_connected():
                if process.poll() is not None:
                    raise RuntimeError(f"anvil stopped at once with exit code {process.returncode}")
                time.sleep(0.02)
            w3.provider.make_request("anvil_setBlockTimestampInterval", [1])
            yield cls(w3, license_count)
        finally:
            process.terminate()
            process.wait()

    @staticmethod
    def payee(number: int) -> bytes:
        """Return the address of a contributor; number 2 of block 1 (258) has a key, for the redirect."""
        return address_of(_payee_key(number)) if number == 258 else keccak256(b"payee %d" % number)[12:]

    @staticmethod
    def note(payee: bytes, epoch: int) -> int:
        """Return a note of 1 to 9.99 dollars, the same in every run."""
        cents = 100 + int.from_bytes(keccak256(payee + bytes([epoch]))[:2], "big") % 900
        return note_word(payee, cents * 10_000)

    def report(self, license_ids: Sequence[int], notes: NoteTree) -> tuple[int, int]:
        """Submit and finalize the next epoch; returns the gas of both."""
        report = self._next_report(license_ids, notes, attempt=0)
        submitted = self._submit(report)
        self._advance(DISPUTE_WINDOW_SECONDS)
        finalized = self._send(self._settlement.functions.finalize(_report_tuple(report)))
        self._epoch, self._period_end_s = report.epoch, report.period_end
        self._previous_hash = eip712.epoch_report_hash(report)
        self._units.update((line.license_id, line.cumulative_units) for line in report.lines)
        return submitted, finalized

    def rejected_report(self, license_ids: Sequence[int]) -> int:
        """Submit the next epoch and reject it; returns the gas of the rejection. The epoch stays open."""
        report = self._next_report(license_ids, NoteTree([]), attempt=0)
        self._submit(report)
        reject = self._settlement.functions.reject(_report_tuple(report), "a lane count fell")
        gas = self._send(reject, sender=self._guardian)
        self._reports += 1
        return gas

    def pay_range(self, epoch: int, notes: NoteTree, start: int, log2: int) -> int:
        """Pay 2**log2 notes at once."""
        words = self._words(epoch, range(start, start + (1 << log2)))
        proof = notes.range_proof(start, log2)
        return self._send(self._splitter.functions.payRange(2 * epoch, start, log2, words, proof))

    def claim(self, epoch: int, notes: NoteTree, index: int) -> int:
        """Pay one note to its payee."""
        [word] = self._words(epoch, [index])
        return self._send(self._splitter.functions.claim(2 * epoch, index, word, notes.proof(index)))

    def redirect(self, epoch: int, notes: NoteTree, index: int) -> int:
        """Pay one note to a new address that was paid before, by the payee's signature."""
        [word] = self._words(epoch, [index])
        to = self.payee(0)
        redirect = NoteRedirect(2 * epoch, index, self.payee(index), word % 2**96, to, FAR_FUTURE_S)
        digest = self._digest(self._splitter, eip712.SPLITTER_DOMAIN_NAME, eip712.note_redirect_hash(redirect))
        signature = sign_digest(_payee_key(index), digest)
        return self._send(
            self._splitter.functions.redirect(
                2 * epoch, index, word, Web3.to_checksum_address(to), FAR_FUTURE_S, signature, notes.proof(index)
            )
        )

    def deposit(self, license_id: int, amount_base_units: int) -> int:
        """Top up a license's escrow from its buyer's approval."""
        return self._send(self._escrow.functions.deposit(license_id, amount_base_units), sender=self._buyer)

    def pay_share(self, license_id: int) -> int:
        """Send the platform its share of a license."""
        return self._send(self._splitter.functions.payShare(license_id, 2))

    def _words(self, epoch: int, indices: Sequence[int]) -> list[int]:
        return [self.note(self.payee(index), epoch) for index in indices]

    def _deploy(self) -> None:
        token = self._token = self._create("PlainToken", is_test=True)
        manager = self._create("AccessManager", self._admin)
        registry = self._registry = self._create("LicenseRegistry", manager.address, token.address)
        nonce = self._w3.eth.get_transaction_count(self._admin)
        committee, escrow, splitter, settlement = (_create_address(self._admin, nonce + i) for i in range(4))
        signers = [Web3.to_checksum_address(address_of(key)) for key in self._signer_keys]
        others = tuple(Web3.to_checksum_address(keccak256(b"beneficiary %d" % i)[12:]) for i in range(4))
        self._create("OracleCommittee", manager.address, settlement, signers)
        self._escrow = self._create("RoyaltyEscrow", token.address, registry.address, settlement, splitter, 3_600)
        self._splitter = self._create(
            "RoyaltySplitter", token.address, registry.address, escrow, settlement, others
        )
        self._settlement = self._create(
            "UsageSettlement", manager.address, committee, escrow, splitter, GENESIS_S, EPOCH_SECONDS,
            DISPUTE_WINDOW_SECONDS, 10**6, True,
        )  # fmt: skip
        reject = self._settlement.functions.reject(_report_tuple(EMPTY_REPORT), "").selector
        self._send(manager.functions.setTargetFunctionRole(settlement, [reject], GUARDIAN_ROLE), self._admin)
        self._send(manager.functions.grantRole(GUARDIAN_ROLE, self._guardian, 0), self._admin)
        self._send(registry.functions.setTemplate(keccak256(b"template"), True), self._admin)
        self._send(token.functions.mint(self._buyer, 10**18), self._admin)
        self._send(token.functions.approve(escrow, 2**256 - 1), self._buyer)

    def _create(self, name: str, *arguments: Any, is_test: bool = False) -> Contract:
        artifact = artifacts.load_test(name) if is_test else artifacts.load(name)
        factory = self._w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        transaction = factory.constructor(*arguments).transact({"from": self._admin, "gas": GAS_LIMIT})
        receipt = self._w3.eth.wait_for_transaction_receipt(transaction)
        return self._w3.eth.contract(address=receipt["contractAddress"], abi=artifact.abi)

    def _open_license(self, license_id: int) -> None:
        """Accept one offer at a dollar per million units and fund it for many epochs."""
        steward_key = _key("steward")
        offer = LicenseOffer(
            steward=address_of(steward_key), buyer=bytes.fromhex(self._buyer[2:]), template_hash=keccak256(b"template"),
            document_hash=keccak256(b"document"), collection_hash=keccak256(b"collection"),
            token=bytes.fromhex(self._token.address[2:]), meter_kind=1, price_per_million_units=10**6, upfront_fee=0,
            max_charge_per_epoch=CHARGE_BASE_UNITS, usage_bond=0, contributors_bps=7_000, community_bps=1_000,
            steward_bps=1_000, platform_bps=600, operators_bps=400, milestones_hash=bytes(32), royalty_hash=bytes(32),
            starts_at=GENESIS_S, ends_at=FAR_FUTURE_S, cooling_off_seconds=86_400, notice_seconds=86_400,
            nonce=license_id, deadline=FAR_FUTURE_S,
        )  # fmt: skip
        digest = self._digest(self._registry, eip712.LICENSES_DOMAIN_NAME, eip712.license_offer_hash(offer))
        values = tuple(
            Web3.to_checksum_address(value) if name in ("steward", "buyer", "token") else value
            for name, value in ((name, getattr(offer, name)) for name in LicenseOffer.__slots__)
        )
        self._send(self._registry.functions.accept(values, sign_digest(steward_key, digest)), self._buyer)
        self.deposit(license_id, 10 * CHARGE_BASE_UNITS)

    def _next_report(self, license_ids: Sequence[int], notes: NoteTree, attempt: int) -> EpochReport:
        period_end_s = self._period_end_s + EPOCH_SECONDS
        now_s = self._w3.eth.get_block("latest")["timestamp"]
        self._advance(max(period_end_s - now_s, 1))
        cutoff = self._w3.eth.get_block("latest")
        filler = (keccak256(b"filler %d" % i) for i in range(5))
        self._reports += 1
        return EpochReport(
            epoch=self._epoch + 1,
            attempt=attempt + self._reports,
            previous_report_hash=self._previous_hash,
            period_end=period_end_s,
            cutoff_block=cutoff["number"],
            cutoff_block_hash=bytes(cutoff["hash"]),
            signer_set_version=1,
            rule_version=1,
            lanes_root=next(filler),
            lane_count=40,
            notes_root=notes.root,
            notes_total=notes.total,
            note_count=notes.count,
            reserve_root=next(filler),
            reserve_total=10**9,
            reserve_count=600_000,
            consent_root=next(filler),
            roster_hash=next(filler),
            bundle_hash=next(filler),
            lines=tuple(
                ReportLine(license_id, self._units[license_id] + CHARGE_BASE_UNITS, CHARGE_BASE_UNITS)
                for license_id in license_ids
            ),
        )

    def _submit(self, report: EpochReport) -> int:
        struct_hash = eip712.epoch_report_hash(report)
        digest = self._digest(self._settlement, eip712.SETTLEMENT_DOMAIN_NAME, struct_hash)
        signatures = b"".join(
            bytes([index]) + to_compact(sign_digest(self._signer_keys[index], digest)) for index in range(SIGNATURES)
        )
        return self._send(self._settlement.functions.submit(_report_tuple(report), signatures))

    def _digest(self, contract: Contract, domain_name: str, struct_hash: bytes) -> bytes:
        address = bytes.fromhex(contract.address[2:])
        domain = eip712.domain_separator(domain_name, eip712.DOMAIN_VERSION, CHAIN_ID, address)
        return eip712.typed_digest(domain, struct_hash)

    def _send(self, function: ContractFunction, sender: str | None = None) -> int:
        """Send a transaction that must succeed; returns the gas it used."""
        transaction = function.transact({"from": sender or self._anyone, "gas": GAS_LIMIT})
        receipt = self._w3.eth.wait_for_transaction_receipt(transaction)
        if receipt["status"] != 1:
            function.call({"from": sender or self._anyone, "gas": GAS_LIMIT})  # says why
            raise RuntimeError(f"{function.fn_name} failed, but would succeed now")
        return int(receipt["gasUsed"])

    def _advance(self, seconds: int) -> None:
        now_s = self._w3.eth.get_block("latest")["timestamp"]
        self._w3.provider.make_request("evm_setNextBlockTimestamp", [now_s + seconds])
        self._w3.provider.make_request("evm_mine", [])


EMPTY_REPORT = EpochReport(
    epoch=0, attempt=0, previous_report_hash=bytes(32), period_end=0, cutoff_block=0, cutoff_block_hash=bytes(32),
    signer_set_version=0, rule_version=0, lanes_root=bytes(32), lane_count=0, notes_root=bytes(32), notes_total=0,
    note_count=0, reserve_root=bytes(32), reserve_total=0, reserve_count=0, consent_root=bytes(32),
    roster_hash=bytes(32), bundle_hash=bytes(32), lines=(),
)  # fmt: skip


def _report_tuple(report: EpochReport) -> tuple[Any, ...]:
    *head, lines = (getattr(report, name) for name in EpochReport.__slots__)
    return (*head, [(line.license_id, line.cumulative_units, line.charge) for line in lines])


def _key(name: str) -> bytes:
    return keccak256(b"usufruct gas benchmark: " + name.encode())


def _payee_key(number: int) -> bytes:
    return _key(f"payee {number}")


def _create_address(sender: str, nonce: int) -> str:
    """Return the address of a contract that `sender` creates with this nonce, below 128."""
    encoded_nonce = bytes([nonce or 0x80])
    preimage = b"\xd6\x94" + bytes.fromhex(sender[2:]) + encoded_nonce
    return Web3.to_checksum_address(keccak256(preimage)[12:])
