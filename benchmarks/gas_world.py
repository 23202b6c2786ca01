"""A deployment on a throw-away dev chain, driven step by step; each step returns the gas it used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from usufruct_chain import artifacts, calls, signatures
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.sender import Sender
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address, parse_address
from usufruct_protocol.sumtree import NoteTree, note_word, range_words
from usufruct_protocol.terms import LicenseOffer, NoteRedirect
from web3.contract.contract import ContractFunction

from scripts.devchain import Anvil, dev_key

GENESIS_S = 1_800_000_000
EPOCH_SECONDS = 86_400
DISPUTE_WINDOW_SECONDS = 3_600
SIGNERS = 7
SIGNATURES = 5
FAR_FUTURE_S = 2**40
CHARGE_BASE_UNITS = 5 * 10**12
"""Drawn per license and epoch: enough for half a million notes of a few dollars each."""

TEMPLATE = keccak256(b"template")
STEWARD_KEY = dev_key(0, "steward")
SIGNER_KEYS = sorted((dev_key(i, "signer") for i in range(SIGNERS)), key=address_of)
REDIRECTING_PAYEE = 258
"""The only payee with a key; hundreds of thousands of keys would take longer than everything else."""
PLATFORM = 2


class GasWorld:
    """Contracts, keys, and funded licenses numbered from 1, each charged whenever a report has its line."""

    def __init__(self, chain: Anvil, license_count: int) -> None:
        self._chain = chain
        deployer, self._anyone, self._buyer, self._council, self._guardian = (
            Sender(chain.w3, LocalSigner(key)) for key in chain.keys[:5]
        )
        self._contracts = self._deploy(deployer)
        self._previous_hash = bytes(32)
        self._epoch = 0
        self._attempt = 0
        self._period_end_s = GENESIS_S
        self._units = dict.fromkeys(range(1, 1 + license_count), 0)
        self._fund_buyer()
        for license_id in self._units:
            self._open_license(license_id)

    @classmethod
    @contextmanager
    def started(cls, license_count: int) -> Iterator[Self]:
        """Start a chain, deploy, open the licenses, and stop the chain afterwards."""
        with Anvil(timestamp=GENESIS_S) as chain:
            yield cls(chain, license_count)

    @staticmethod
    def payees(count: int) -> list[bytes]:
        """Return as many addresses, the same in every run."""
        addresses = [keccak256(b"payee %d" % number)[12:] for number in range(count)]
        addresses[REDIRECTING_PAYEE] = address_of(dev_key(REDIRECTING_PAYEE, "payee"))
        return addresses

    @staticmethod
    def words(payees: Sequence[bytes], epoch: int) -> list[int]:
        """Return a note of 1.00 to 9.99 dollars for each payee, the same in every run."""
        return [
            note_word(payee, (100 + (payee[0] * 7 + payee[1] * epoch) % 900) * 10_000) for payee in payees
        ]

    def report(self, license_ids: Iterable[int], notes: NoteTree) -> tuple[int, int]:
        """Submit and finalize the next epoch; returns the gas of both."""
        report = self._next_report(license_ids, notes)
        submitted = self._submit(report)
        self._chain.advance_to(self._chain.now() + DISPUTE_WINDOW_SECONDS)
        finalized = self._send(calls.finalize_report(self._contracts, report))
        self._epoch, self._attempt, self._period_end_s = report.epoch, 0, report.period_end
        self._previous_hash = epoch_report_hash(report)
        self._units.update((line.license_id, line.cumulative_units) for line in report.lines)
        return submitted, finalized

    def rejected_report(self, license_ids: Iterable[int]) -> int:
        """Submit the next epoch and reject it; returns the gas of the rejection. The epoch stays open."""
        report = self._next_report(license_ids, NoteTree([]))
        self._submit(report)
        self._attempt = report.attempt + 1
        return self._send(calls.reject_report(self._contracts, report, "a lane count fell"), self._guardian)

    def pay_range(self, epoch: int, words: Sequence[int], notes: NoteTree, start: int, log2: int) -> int:
        """Pay 2**log2 notes at once."""
        padded, proof = range_words(words, start, log2), notes.range_proof(start, log2)
        call = calls.pay_range(self._contracts, 2 * epoch, start, log2, padded, proof)
        return self._send(call, gas=calls.range_gas(log2))

    def claim(self, epoch: int, words: Sequence[int], notes: NoteTree, index: int) -> int:
        """Pay one note to its payee."""
        return self._send(
            calls.claim_note(self._contracts, 2 * epoch, index, words[index], notes.proof(index))
        )

    def claim_many(self, notes: Sequence[tuple[int, Sequence[int], NoteTree, int]]) -> int:
        """Pay several notes, each of an epoch, to their payees in one transaction."""
        claims = [(2 * epoch, index, words[index], tree.proof(index)) for epoch, words, tree, index in notes]
        return self._send(calls.claim_notes(self._contracts, claims))

    def redirect(self, epoch: int, words: Sequence[int], notes: NoteTree, to: bytes) -> int:
        """Pay the note of the payee with a key to another address, by the payee's signature."""
        key = dev_key(REDIRECTING_PAYEE, "payee")
        amount = words[REDIRECTING_PAYEE] % 2**96
        redirect = NoteRedirect(2 * epoch, REDIRECTING_PAYEE, address_of(key), amount, to, FAR_FUTURE_S)
        signature = signatures.sign_redirect(self._contracts.deployment, redirect, key)
        proof = notes.proof(REDIRECTING_PAYEE)
        return self._send(calls.redirect_note(self._contracts, redirect, signature, proof))

    def deposit(self, license_id: int, amount_base_units: int) -> int:
        """Top up a license's escrow from its buyer's approval."""
        return self._send(
            self._contracts.escrow.functions.deposit(license_id, amount_base_units), self._buyer
        )

    def pay_share(self, license_id: int) -> int:
        """Send the platform its share of a license."""
        return self._send(calls.pay_share(self._contracts, license_id, PLATFORM))

    def _deploy(self, deployer: Sender) -> Contracts:
        token = str(deployer.deploy(artifacts.load_test("PlainToken"))["contractAddress"])
        config = DeployConfig(
            council=self._council.address,
            guardian=self._guardian.address,
            signers=tuple(checksum_address(address_of(key)) for key in SIGNER_KEYS),
            community=_beneficiary("community"),
            platform=_beneficiary("platform"),
            operators=_beneficiary("operators"),
            custodian=_beneficiary("custodian"),
            remediation_fund=_beneficiary("remediation fund"),
            genesis_s=GENESIS_S,
            epoch_seconds=EPOCH_SECONDS,
            dispute_window_seconds=DISPUTE_WINDOW_SECONDS,
            note_minimum=10**6,
            max_merge_delay_seconds=3_600,
            token=token,
            templates=(TEMPLATE,),
        )
        return Contracts(self._chain.w3, deploy(deployer, config))

    def _fund_buyer(self) -> None:
        token = self._contracts.token.functions
        self._send(token.mint(self._buyer.address, 10**18))
        self._send(token.approve(self._contracts.deployment.escrow, 2**256 - 1), self._buyer)

    def _open_license(self, license_id: int) -> None:
        """Accept one offer at a dollar per unit and fund it for ten epochs."""
        offer = LicenseOffer(
            steward=address_of(STEWARD_KEY),
            buyer=parse_address(self._buyer.address),
            template_hash=TEMPLATE,
            document_hash=keccak256(b"document"),
            collection_hash=keccak256(b"collection"),
            token=parse_address(self._contracts.deployment.token),
            meter_kind=1,
            price_per_million_units=10**6,
            upfront_fee=0,
            max_charge_per_epoch=CHARGE_BASE_UNITS,
            usage_bond=0,
            contributors_bps=7_000,
            community_bps=1_000,
            steward_bps=1_000,
            platform_bps=600,
            operators_bps=400,
            milestones_hash=bytes(32),
            royalty_hash=bytes(32),
            starts_at=GENESIS_S,
            ends_at=FAR_FUTURE_S,
            cooling_off_seconds=86_400,
            notice_seconds=86_400,
            nonce=license_id,
            deadline=FAR_FUTURE_S,
        )
        signature = signatures.sign_offer(self._contracts.deployment, offer, STEWARD_KEY)
        self._send(calls.accept_offer(self._contracts, offer, signature), self._buyer)
        self.deposit(license_id, 10 * CHARGE_BASE_UNITS)

    def _next_report(self, license_ids: Iterable[int], notes: NoteTree) -> EpochReport:
        """Return a report as large as real ones: every hash is 32 random bytes."""
        period_end_s = self._period_end_s + EPOCH_SECONDS
        self._chain.advance_to(max(period_end_s, self._chain.now() + 1))
        cutoff = self._chain.w3.eth.get_block("latest")
        return EpochReport(
            epoch=self._epoch + 1,
            attempt=self._attempt,
            previous_report_hash=self._previous_hash,
            period_end=period_end_s,
            cutoff_block=cutoff["number"],
            cutoff_block_hash=bytes(cutoff["hash"]),
            signer_set_version=1,
            rule_version=1,
            lanes_root=keccak256(b"lanes"),
            lane_count=40,
            notes_root=notes.root,
            notes_total=notes.total,
            note_count=notes.count,
            reserve_root=keccak256(b"reserve"),
            reserve_total=10**9,
            reserve_count=600_000,
            consent_root=keccak256(b"consent"),
            roster_hash=keccak256(b"rosters"),
            bundle_hash=keccak256(b"bundle"),
            lines=tuple(
                ReportLine(license_id, self._units[license_id] + CHARGE_BASE_UNITS, CHARGE_BASE_UNITS)
                for license_id in license_ids
            ),
        )

    def _submit(self, report: EpochReport) -> int:
        signed = {
            index: signatures.sign_report(self._contracts.deployment, report, SIGNER_KEYS[index])
            for index in range(SIGNATURES)
        }
        return self._send(calls.submit_report(self._contracts, report, signed))

    def _send(self, call: ContractFunction, sender: Sender | None = None, gas: int | None = None) -> int:
        receipt = (sender or self._anyone).send(call, gas=gas)
        return int(receipt["gasUsed"])


def _beneficiary(name: str) -> str:
    return checksum_address(keccak256(name.encode())[12:])
