"""Random histories of the whole contract set, checked against a model after every move.

Buyers deposit, stewards offer, nodes report (well and badly), guardian and council reject, reports are
disputed and proven wrong, anyone finalizes, pays ranges, claims, redirects and pulls shares, wallets are
blocked and freed, the token pauses, signers rotate, reserves are issued and claimed, money arrives unasked,
time passes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.terms import NoteRedirect

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.checked_history import GOAL, PAYEES, CheckedHistory
from tests.contracts.evm.model import BPS, Model, ModelLicense, ModelTree, ModelVersion
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.world import (
    DISPUTE_SECONDS,
    EPOCH_SECONDS,
    FOREVER,
    MERGE_DELAY_SECONDS,
    NO_NOTES,
    World,
)
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import SPLITTER, Account, account, sign, typed_digest

MAX_LICENSES = 3
MAX_UINT96 = 2**96 - 1
MAX_DISPUTES = 3
NO_RESERVE = Reserve([])

picks = st.integers(0, 2**16)
amounts = st.one_of(st.integers(1, 20), st.integers(1, 10**7), st.integers(10**12, 10**18))
prices = st.sampled_from([0, 1, 333_333, 1_000_000, 7_000_001, 10**15])
caps = st.sampled_from([1, 50, 10**6, MAX_UINT96])
new_units = st.one_of(st.integers(0, 9), st.integers(0, 10**7))
thirds = st.sampled_from([0, 1, 2, 3, 3])
party_splits = st.sampled_from(
    [(500, 0, 0, 0), (1_000, 1_000, 500, 500), (1_250, 1_250, 1_250, 1_250), (3_333, 1_667, 0, 0)]
)
usage = st.lists(st.tuples(st.booleans(), new_units, thirds), min_size=MAX_LICENSES, max_size=MAX_LICENSES)
note_lists = st.lists(st.tuples(st.integers(0, len(PAYEES) - 1), amounts), max_size=9)
FLAWS = ["units fell", "over due", "over available", "over cap", "over pool"]
FLAWS += ["epoch", "previous", "attempt", "few"]

Parties = tuple[int, int, int, int]
Used = list[tuple[bool, int, int]]
Wanted = list[tuple[int, int]]


class History(CheckedHistory):
    """One random history: every rule plays on the chain and on the model."""

    @initialize(
        parties=party_splits, price=st.sampled_from([1_000_000, 7_000_001]), amount=amounts, used=usage
    )
    def deploy(self, parties: Parties, price: int, amount: int, used: Used) -> None:
        """A world with a used license and an issued tree: few histories would get that far by themselves."""
        self.world = World(Evm())
        first = frozenset(signer.address for signer in self.world.signers[1])
        self.model = Model([ModelVersion(1, 1, first)], last_period_end=self.world.genesis)
        self.pending: EpochReport | None = None
        self.pending_notes, self.pending_reserve = NO_NOTES, NO_RESERVE
        self.newcomers = 0
        self.submitted_at = 0
        self.gifts = {"escrow": 0, "splitter": 0}
        self.paused = False
        self.blocked: set[str] = set()
        self.salts = 0
        self.accept_license(price, MAX_UINT96, parties, 1)
        self.deposit(0, 1_000 + amount, signed=False)
        first_notes = [(number % len(PAYEES), 3 + number) for number in range(6)]
        self.run_epoch([(True, 1_000 + more, 3) for _, more, _ in used], first_notes, False)

    # -- licenses and money in ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.licenses) < MAX_LICENSES)
    @rule(price=prices, cap=caps, parties=party_splits, days=st.sampled_from([1, 3, 365]))
    def accept_license(self, price: int, cap: int, parties: Parties, days: int) -> None:
        ends_at = self.world.evm.timestamp + days * 86_400
        license_id = self.world.accept(
            price_per_million_units=price,
            max_charge_per_epoch=cap,
            contributors_bps=BPS - sum(parties),
            community_bps=parties[0],
            steward_bps=parties[1],
            platform_bps=parties[2],
            operators_bps=parties[3],
            ends_at=ends_at,
        )
        assert license_id == len(self.model.licenses) + 1
        cooling_off_until = self.world.evm.timestamp + 3 * 86_400
        self.model.licenses[license_id] = ModelLicense(price, cap, parties, ends_at, cooling_off_until)

    @precondition(lambda self: self.model.licenses and not self.paused)
    @rule(pick=picks, amount=amounts, signed=st.booleans())
    def deposit(self, pick: int, amount: int, signed: bool) -> None:
        license_id, terms = self._license(pick)
        if signed:
            self.salts += 1
            buyer, salt = self.world.people.buyer, self.salts.to_bytes(32, "big")
            self.world.token.mint(buyer, amount, sender=buyer)
            vrs = self.world.authorization(license_id, buyer, amount, salt)
            self.world.escrow.depositWithAuthorization(
                license_id, buyer, amount, 0, FOREVER, salt, *vrs, sender=self._anyone
            )
        else:
            self.world.deposit(license_id, amount)
        terms.deposited += amount
        terms.available += amount

    @precondition(lambda self: not self.paused)
    @rule(amount=amounts, where=st.sampled_from(["escrow", "splitter"]))
    def give(self, amount: int, where: str) -> None:
        """Money that arrives unasked is nobody's, and changes nothing."""
        self.world.token.mint(getattr(self.world, where), amount, sender=self._anyone)
        self.gifts[where] += amount

    @precondition(lambda self: self.model.licenses)
    @rule(pick=picks, third=thirds)
    def withdraw(self, pick: int, third: int) -> None:
        license_id, terms = self._license(pick)
        amount = max(1, terms.available * third // 3)
        covered = self.model.last_period_end >= terms.ends_at + MERGE_DELAY_SECONDS
        in_report = self.pending is not None and license_id in {
            line.license_id for line in self.pending.lines
        }
        is_whole = not in_report and terms.due() == 0 and amount <= terms.available
        free = covered and is_whole and self._accepts(GOAL)
        with self._refusal(not free, r"RoyaltyEscrow_\w+", "TestUSDC_Paused", "TestUSDC_Blocked"):
            self.world.escrow.withdraw(license_id, amount, GOAL, sender=self.world.people.buyer)
        if free:
            terms.available -= amount
            terms.withdrawn += amount
            self.model.pay(GOAL.address, amount)

    @precondition(lambda self: self.model.licenses)
    @rule(pick=picks)
    def cool_off(self, pick: int) -> None:
        license_id, terms = self._license(pick)
        now = self.world.evm.timestamp
        refused = now >= terms.cooling_off_until or terms.cooled_off
        with self._refusal(refused, "LicenseRegistry_CoolingOffOver", "LicenseRegistry_AlreadyCooledOff"):
            self.world.registry.coolOff(license_id, sender=self.world.people.buyer)
        if not refused:
            terms.cooled_off, terms.ends_at = True, min(now, terms.ends_at)

    # -- reports --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pending is None)
    @rule(used=usage, wanted=note_lists, sweep=st.booleans(), reserve=thirds, skipped=st.integers(0, 2))
    def submit(
        self,
        used: Used,
        wanted: Wanted,
        sweep: bool,
        reserve: int,
        skipped: int,
    ) -> None:
        lines = self.model.lines(used)
        pool = self.model.pool + self.model.contributors_share(lines)
        notes = self._notes(wanted, pool, sweep)
        kept = self._reserve((pool - notes.total) * reserve // 3)
        self.world.until(self.model.last_period_end + EPOCH_SECONDS)
        attempt = self.model.next_attempt + skipped
        report = self.world.report(lines, notes, attempt=attempt, **kept.in_report)
        with self._refusal(self.model.waits_for_reserve, "OracleCommittee_ReserveNotIssued"):
            self.world.submit(report)
        if self.model.waits_for_reserve:
            return
        self.pending, self.submitted_at = report, self.world.evm.timestamp
        self.pending_notes, self.pending_reserve = notes, kept
        for license_id, _, charge in lines:
            self.model.licenses[license_id].available -= charge
            self.model.licenses[license_id].reserved += charge

    @precondition(lambda self: self.pending is None and self.model.licenses)
    @rule(used=usage, pick=picks, flaw=st.sampled_from(FLAWS))
    def submit_flawed(self, used: Used, pick: int, flaw: str) -> None:
        """A report with one thing wrong is refused whole, whoever signed it."""
        license_id, terms = self._license(pick)
        lines = {line[0]: line for line in self.model.lines(used)}
        units = max(terms.units, lines.get(license_id, (0, 0, 0))[1])
        too_much = {
            "over due": terms.due(units) + 1,
            "over available": terms.available + 1,
            "over cap": terms.cap + 1,
        }
        changes: dict[str, Any] = {}
        notes, signers = NO_NOTES, [0, 1, 2]
        if flaw in too_much:
            lines[license_id] = (license_id, units, min(too_much[flaw], MAX_UINT96))
        elif flaw == "units fell":
            if terms.units == 0:
                return
            lines[license_id] = (license_id, terms.units - 1, 0)
        elif flaw == "over pool":
            pool = self.model.pool + self.model.contributors_share(list(lines.values()))
            notes = RawTree([word(PAYEES[0].address, pool + 1)])
        elif flaw == "attempt":
            if self.model.next_attempt == 0:
                return
            changes["attempt"] = self.model.next_attempt - 1
        elif flaw == "epoch":
            changes["epoch"] = self.model.last_epoch + (0 if pick % 2 else 2)
        elif flaw == "previous":
            changes["previous_report_hash"] = b"\1" * 32
        else:
            signers = signers[:-1]
        self.world.until(self.model.last_period_end + EPOCH_SECONDS)
        report = self.world.report([lines[key] for key in sorted(lines)], notes, **changes)
        signatures = self.world.sign_report(report, signers)
        with pytest.raises(Reverted, match=r"(UsageSettlement|RoyaltyEscrow|OracleCommittee)_\w+"):
            self.world.settlement.submit(report, signatures, sender=self._anyone)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def submit_beside_pending(self) -> None:
        with pytest.raises(Reverted, match="UsageSettlement_ReportPending"):
            self.world.submit(self.world.report(attempt=self.pending.attempt + 1 if self.pending else 0))

    @rule(used=usage, wanted=note_lists, sweep=st.booleans())
    def run_epoch(self, used: Used, wanted: Wanted, sweep: bool) -> None:
        """All goes well for a whole epoch."""
        if self.pending is None:
            if self.model.waits_for_reserve:
                self.issue_reserve(by_wind_down=False)
            self.submit(used, wanted, sweep, 1, 0)
        while self.model.open_disputes:
            self.answer()
        self.finalize(DISPUTE_SECONDS)

    @precondition(lambda self: self.pending is not None)
    @rule(by_council=st.booleans())
    def reject(self, by_council: bool) -> None:
        report = self.pending
        assert report is not None
        settlement, people = self.world.settlement, self.world.people
        if by_council:
            settlement.rejectByCouncil(report, "history", sender=people.council)
        elif self.model.rejections == 3:
            with pytest.raises(Reverted, match="UsageSettlement_GuardianSpent"):
                settlement.reject(report, "history", sender=people.guardian)
            return
        else:
            settlement.reject(report, "history", sender=people.guardian)
            self.model.rejections += 1
        self._rejected(report)

    @precondition(lambda self: self.pending is not None)
    @rule(by_wind_down=st.booleans())
    def prove_wrong(self, by_wind_down: bool) -> None:
        report, world = self.pending, self.world
        assert report is not None
        judge = world.wind_down if by_wind_down else world.disputes
        world.settlement.rejectProven(report, "history", sender=judge)
        self._rejected(report)

    @precondition(lambda self: self.pending is not None and self.model.open_disputes < MAX_DISPUTES)
    @rule()
    def dispute(self) -> None:
        settlement = self.world.settlement
        settlement.holdFinalization(settlement.hashReport(self.pending), sender=self.world.disputes)
        self.model.open_disputes += 1

    @precondition(lambda self: self.model.open_disputes)
    @rule()
    def answer(self) -> None:
        settlement = self.world.settlement
        settlement.releaseFinalization(settlement.hashReport(self.pending), sender=self.world.disputes)
        self.model.open_disputes -= 1

    @precondition(lambda self: self.pending is not None)
    @rule(wait=st.sampled_from([0, DISPUTE_SECONDS - 1, DISPUTE_SECONDS, DISPUTE_SECONDS]))
    def finalize(self, wait: int) -> None:
        report = self.pending
        assert report is not None
        self.world.until(self.submitted_at + wait)
        is_over = self.world.evm.timestamp >= self.submitted_at + DISPUTE_SECONDS
        moves = any(line.charge for line in report.lines)
        goes = is_over and not (moves and self.paused) and not self.model.open_disputes
        refusals = ("UsageSettlement_WindowOpen", "UsageSettlement_DisputeOpen", "TestUSDC_Paused")
        with self._refusal(not goes, *refusals):
            self.world.settlement.finalize(report, sender=self._anyone)
        if not goes:
            return
        for line in report.lines:
            terms = self.model.licenses[line.license_id]
            self.model.pool += terms.contributors(terms.charged + line.charge) - terms.contributors(
                terms.charged
            )
            terms.reserved -= line.charge
            terms.charged += line.charge
            terms.units = line.cumulative_units
        if self.pending_notes.count:
            self.model.pool -= self.pending_notes.total
            self.model.trees[2 * report.epoch] = ModelTree(self.pending_notes)
        self.model.last_epoch, self.model.last_period_end = report.epoch, report.period_end
        self.model.last_hash = self.world.settlement.hashReport(report)
        self.model.next_attempt = self.model.rejections = 0
        self.pending, self.final, self.final_reserve = None, report, self.pending_reserve

    @rule(ahead=st.integers(-1, 2), replaced=st.integers(0, 4))
    def rotate_signers(self, ahead: int, replaced: int) -> None:
        """Some new signers from an epoch after the open one: what is signed and pending stays valid."""
        from_epoch = self.model.last_epoch + 2 + ahead
        before = self.world.signers[self.model.version_for(from_epoch - 1).number]
        self.newcomers += replaced
        new = [account(f"newcomer {self.newcomers - number}") for number in range(replaced)]
        signers = sorted([*new, *before[replaced:]], key=lambda signer: int(signer.address, 16))
        with self._refusal(ahead < 0, "OracleCommittee_EpochNotInFuture"):
            made = self.world.committee.rotate(signers, from_epoch, sender=self.world.people.council)
        if ahead >= 0:
            self.world.signers[made.value] = signers
            self.model.rotate(made.value, from_epoch, frozenset(signer.address for signer in signers))

    @rule(by_wind_down=st.booleans())
    def issue_reserve(self, by_wind_down: bool) -> None:
        """The last final report's, once, if somebody may ask for it and no pending report counts on it."""
        caller = self.world.wind_down if by_wind_down else self._anyone
        is_due = by_wind_down or self.model.asks_for_reserve
        goes = self.pending is None and is_due and self.model.reserve_issued != self.model.last_epoch
        refusals = ("ReportPending", "ReserveAlreadyIssued", "ReserveNotDue")
        with self._refusal(not goes, *(f"UsageSettlement_{name}" for name in refusals)):
            self.world.settlement.issueReserve(self.final, sender=caller)
        if goes:
            self.model.reserve_issued = self.model.last_epoch
            if self.final_reserve.count:
                self.model.pool -= self.final_reserve.total
                self.model.trees[2 * self.final.epoch + 1] = ModelTree(self.final_reserve)

    # -- money out ------------------------------------------------------------------------------------------

    @precondition(lambda self: self._trees(reserves=False))
    @rule(pick=picks, log2=st.integers(0, 4))
    def pay_range(self, pick: int, log2: int) -> None:
        tree_id, issued = self._tree(pick, reserves=False)
        log2 = min(log2, issued.tree.depth)
        start = pick % issued.tree.count >> log2 << log2
        words, proof = issued.tree.range_words(start, log2), issued.tree.range_proof(start, log2)
        receipt = self.world.splitter.payRange(tree_id, start, log2, words, proof, sender=self._anyone)
        paid = 0
        for index in range(start, min(start + len(words), issued.tree.count)):
            payee = PAYEES[self._payee_number(issued, index)]
            if index not in issued.paid_indices and self._accepts(payee):
                issued.paid_indices.add(index)
                self.model.pay(payee.address, issued.amount(index))
                paid += issued.amount(index)
        assert receipt.value == paid

    @precondition(lambda self: self._trees(reserves=False))
    @rule(pick=picks, redirected=st.booleans())
    def pay_note(self, pick: int, redirected: bool) -> None:
        tree_id, issued = self._tree(pick, reserves=False)
        index = pick % issued.tree.count
        payee = PAYEES[self._payee_number(issued, index)]
        to = GOAL if redirected else payee
        note = (tree_id, index, issued.tree.words[index])
        proof = issued.tree.proof(index)
        goes = index not in issued.paid_indices and self._accepts(to)
        with self._refusal(not goes, "RoyaltySplitter_AlreadyPaid", "RoyaltySplitter_TransferFailed"):
            if redirected:
                signature = self._signed_redirect(payee, tree_id, index, issued.amount(index))
                self.world.splitter.redirect(*note, GOAL, FOREVER, signature, proof, sender=self._anyone)
            else:
                self.world.splitter.claim(*note, proof, sender=self._anyone)
        if goes:
            issued.paid_indices.add(index)
            self.model.pay(to.address, issued.amount(index))

    @precondition(lambda self: self._trees(reserves=True))
    @rule(pick=picks)
    def claim_reserve(self, pick: int) -> None:
        tree_id, issued = self._tree(pick, reserves=True)
        assert isinstance(issued.tree, Reserve)
        index = pick % issued.tree.count
        payee = PAYEES[self._payee_number(issued, index)]
        goes = index not in issued.paid_indices and self._accepts(payee)
        with self._refusal(not goes, "RoyaltySplitter_AlreadyPaid", "RoyaltySplitter_TransferFailed"):
            self.world.splitter.claimReserve(tree_id, *issued.tree.opening(index), sender=self._anyone)
        if goes:
            issued.paid_indices.add(index)
            self.model.pay(payee.address, issued.amount(index))

    @precondition(lambda self: self.model.licenses)
    @rule(pick=picks, party=st.integers(0, 3))
    def pay_share(self, pick: int, party: int) -> None:
        license_id, terms = self._license(pick)
        to, credit = self.parties[party], terms.credit(party)
        goes = credit > 0 and self._accepts(to)
        with self._refusal(not goes, "RoyaltySplitter_NothingToPay", "RoyaltySplitter_TransferFailed"):
            self.world.splitter.payShare(license_id, party, sender=self._anyone)
        if goes:
            terms.taken[party] += credit
            self.model.pay(to.address, credit)

    @rule(pick=picks)
    def block_or_free(self, pick: int) -> None:
        everyone = [*PAYEES, GOAL, *self.parties]
        who = everyone[pick % len(everyone)]
        self.blocked ^= {who.address}
        self.world.token.setBlocked(who, who.address in self.blocked, sender=self._anyone)

    @rule(pick=picks)
    def pause_or_resume(self, pick: int) -> None:
        self.paused = not self.paused and pick % 4 == 0
        self.world.token.setPaused(self.paused, sender=self._anyone)

    @rule(seconds=st.sampled_from([1, 600, EPOCH_SECONDS]))
    def wait(self, seconds: int) -> None:
        self.world.evm.warp(seconds)

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _anyone(self) -> Account:
        return self.world.people.stranger

    def _license(self, pick: int) -> tuple[int, ModelLicense]:
        license_id = pick % len(self.model.licenses) + 1
        return license_id, self.model.licenses[license_id]

    def _trees(self, *, reserves: bool) -> list[int]:
        return sorted(tree_id for tree_id in self.model.trees if tree_id % 2 == reserves)

    def _tree(self, pick: int, *, reserves: bool) -> tuple[int, ModelTree]:
        known = self._trees(reserves=reserves)
        tree_id = known[pick % len(known)]
        return tree_id, self.model.trees[tree_id]

    def _rejected(self, report: EpochReport) -> None:
        """However it came about: accounts as before, disputes over, the next attempt is a later one."""
        self.model.next_attempt = report.attempt + 1
        self.model.open_disputes = 0
        for line in report.lines:
            self.model.licenses[line.license_id].reserved -= line.charge
            self.model.licenses[line.license_id].available += line.charge
        self.pending = None

    def _payee_number(self, issued: ModelTree, index: int) -> int:
        return [int(payee.address, 16) for payee in PAYEES].index(issued.payee(index))

    def _accepts(self, who: Account) -> bool:
        return not self.paused and who.address not in self.blocked

    def _refusal(self, expected: bool, *names: str) -> AbstractContextManager[Any]:
        return pytest.raises(Reverted, match="|".join(names)) if expected else nullcontext()

    def _notes(self, wanted: Wanted, pool: int, sweep: bool) -> RawTree:
        """A tree of as many of the wanted notes as the pool holds; `sweep` empties it."""
        words, left = [], pool
        for payee, amount in wanted:
            if amount <= left:
                words.append(word(PAYEES[payee].address, amount))
                left -= amount
        if sweep and left:
            words.append(word(PAYEES[0].address, left))
        return RawTree(sorted(words))

    def _reserve(self, total: int) -> Reserve:
        """A reserve of so much for two of the payees."""
        first = total // 3
        amounts = [amount for amount in (first, total - first) if amount]
        return Reserve(amounts, PAYEES[: len(amounts)])

    def _signed_redirect(self, payee: Account, tree_id: int, index: int, amount: int) -> bytes:
        terms = NoteRedirect(
            tree_id, index, bytes.fromhex(payee.address[2:]), amount, bytes.fromhex(GOAL.address[2:]), FOREVER
        )
        splitter = self.world.splitter.address
        digest = typed_digest(SPLITTER, self.world.evm.chain_id, splitter, "NoteRedirect", terms)
        return sign(payee.key, digest).full


# Longer than the others: a failing history is shortened before it is shown.
@pytest.mark.timeout(900)
def test_inv_01_02_03_04_09_11_12_13_14_15_16_17_18_20_hold_in_any_history() -> None:
    """A quarter of the profile's examples, each some 50 moves long."""
    profile = settings.default
    assert profile is not None
    run_state_machine_as_test(
        History,
        settings=settings(profile, max_examples=max(10, profile.max_examples // 2), stateful_step_count=50),
    )
