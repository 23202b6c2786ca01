"""What happens in the demo, in order: three epochs of real calls, a dead node, a short escrow, payments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from usufruct_chain import calls
from usufruct_chain.signatures import sign_redirect
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.periods import epoch_of_ms, period_end_s
from usufruct_protocol.signing import address_of, checksum_address
from usufruct_protocol.sumtree import split_word
from usufruct_protocol.terms import NoteRedirect

from scripts.demo_client import Answered, ask_all, ask_refused, questions
from scripts.demo_stage import PREDICT, SIMILAR, USDC, Stage
from scripts.devchain import dev_key
from scripts.ledger import PARTIES
from scripts.node_view import NodeView
from scripts.outcome import PaidNotes, read_notes, signer_indexes
from scripts.people import wallet_key
from scripts.processes import patiently
from scripts.tables import usdc

PARTS: Final = 3
RETRY_EVERY: Final = 40
ROUTES: Final = ((PREDICT, "/predict"), (SIMILAR, "/similar"))
BAD_QUESTIONS: Final = (b"", b"{}", b'{"features": [1, 2, 3]}', b'{"features": "all"}')

DEAD_NODE: Final = 2
"""Index of the third node: it would propose epoch 2, so that epoch takes another attempt."""
WAIT_TIMEOUT_S: Final = 180.0
TOP_UP_MARGIN: Final = 5 * USDC


@dataclass
class Happenings:
    """What the story has seen so far."""

    receipts: list[Answered] = field(default_factory=list)
    retries: int = 0
    refused: int = 0
    killed_in: int = 0
    back_in: int = 0
    carried_due: int = 0
    carried_in_epoch: int = 0
    topped_up: int = 0
    claim_gas: int = 0
    redirect_gas: int = 0
    claimed: str = ""
    redirected: str = ""
    redirected_to: bytes = b""


class Story:
    """Plays the demo on a stage and writes down what it sees."""

    def __init__(self, stage: Stage, total_calls: int, console: Console) -> None:
        self._stage = stage
        self._world = stage.world
        self._network = stage.network
        self._total_calls = total_calls
        self._console = console
        self._started = time.monotonic()
        self.seen = Happenings()
        # Two wallets that the token's issuer has blocked: a range payment must pass over them.
        self._blocked = (stage.cohort.references[0], stage.cohort.references[1])

    def play(self) -> None:
        """Play every act. Raises: InvariantBroken or Transient when something does not go as it must."""
        self._set_blocked(True, *self._blocked)
        self._say(f"the issuer of the token has blocked the wallets of {' and '.join(self._blocked)}")
        first = self._wait_for_room()
        self._ask(1)
        self._wait_for_period_end(first)
        self._ask(2)
        self._watch_report(first)
        self._watch_final(first)
        second = self.seen.killed_in = self._epoch_now()
        self._network.kill(DEAD_NODE)
        self._say(f"[red]node {DEAD_NODE + 1} is killed[/] in epoch {second}")
        self._claim_and_redirect()
        self._wait_for_period_end(second)
        self._ask(3)
        self._watch_report(second)
        self._network.start(DEAD_NODE)
        self.seen.back_in = self._epoch_now()
        self._say(
            f"[green]node {DEAD_NODE + 1} is back[/] in epoch {self.seen.back_in}, with the database it had"
        )
        self._watch_final(second)
        self._watch_report(second + 1)
        self._watch_final(second + 1)
        self._top_up()
        self._pay_what_is_left()
        self._pay_shares()

    def _ask(self, part: int) -> None:
        """Ask one of three parts of the questions over HTTP, and keep the receipts."""
        first = self._total_calls * (part - 1) // PARTS
        count = self._total_calls * part // PARTS - first
        asked = questions(self._stage.cohort.callers.tolist(), ROUTES, count, RETRY_EVERY, first)
        with self._progress(f"calls, part {part} of {PARTS}", count) as advance:
            answered = ask_all(self._stage.clinic_url, asked, advance)
        self.seen.receipts += answered.receipts
        self.seen.retries += answered.retries
        self.seen.refused += ask_refused(self._stage.clinic_url, ROUTES[part % 2][1], BAD_QUESTIONS)
        self._say(
            f"{len(answered.receipts):,} calls answered, each with a signed receipt; "
            f"{answered.retries} asked twice and metered once; {len(BAD_QUESTIONS)} refused and free"
        )

    def _wait_for_room(self) -> int:
        """Return the epoch that is on, or the next one if this one is more than a third over."""
        deployment, epoch = self._world.deployment, self._epoch_now()
        begun_s = period_end_s(deployment.genesis_s, deployment.epoch_seconds, epoch - 1)
        if 3 * (self._world.reader.head().timestamp_s - begun_s) <= deployment.epoch_seconds:
            return epoch
        self._wait_for_period_end(epoch)
        return epoch + 1

    def _wait_for_period_end(self, epoch: int) -> None:
        deployment = self._world.deployment
        end_s = period_end_s(deployment.genesis_s, deployment.epoch_seconds, epoch)
        self._wait(f"the end of epoch {epoch}", lambda: self._world.reader.head().timestamp_s >= end_s)

    def _watch_report(self, epoch: int) -> None:
        """Wait until an epoch's report is posted."""
        reader = self._world.reader
        self._wait(f"a report of epoch {epoch}", lambda: reader.report_hash(epoch) != bytes(32))
        submitted = reader.report_calldata(epoch)
        if submitted is None:
            raise InvariantBroken(f"epoch {epoch} has a report hash on chain and no report")
        report, signers = submitted.report, signer_indexes(submitted.signatures)
        charge = sum(line.charge for line in report.lines)
        self._say(
            f"epoch {epoch}: nodes {', '.join(str(index + 1) for index in signers)} signed the same report "
            f"(attempt {report.attempt}): {usdc(charge)} USDC charged, {report.note_count} notes"
        )

    def _watch_final(self, epoch: int) -> None:
        """Wait until an epoch's dispute window has passed and somebody has finalized it."""
        self._wait(f"epoch {epoch} final", lambda: self._last_final() >= epoch)
        self._say(f"epoch {epoch}: the dispute window has passed, the report is final")

    def _top_up(self) -> None:
        """Wait until every call is counted, see what the escrow could not pay, pay it in, see it drawn."""
        expected = {number: 0 for number, _ in ROUTES}
        for receipt in self.seen.receipts:
            expected[receipt.license_id] += 1
        reader = self._world.reader
        self._wait(
            "every call counted",
            lambda: all(
                reader.account(number).cumulative_units == units for number, units in expected.items()
            ),
        )
        due = self._due()
        if due == 0:
            raise InvariantBroken("the escrow of /similar was meant to fall short, and did not")
        self.seen.carried_due, self.seen.carried_in_epoch = due, self._last_final()
        self._say(f"[yellow]the escrow of /similar ran dry: {usdc(due)} USDC stay due and are carried[/]")
        self.seen.topped_up = due + TOP_UP_MARGIN
        self._world.fund(SIMILAR, self.seen.topped_up, "top-up")
        self._say(f"the buyer tops up {usdc(self.seen.topped_up)} USDC by a signed authorization (EIP-3009)")
        self._wait("the carried due drawn", lambda: self._due() == 0)
        self._say("the next report has drawn what was carried")

    def _claim_and_redirect(self) -> None:
        """Both blocked patients get their first note after all: one by a claim, one by a redirect."""
        claimer, mover = self._blocked
        self._wait("every node done with the first range payments", self._is_nobody_paying)
        tree = self._notes(self._last_final())[0]
        unpaid = tree.is_paid.count(False)
        if unpaid != len(self._blocked):
            raise InvariantBroken(
                f"tree {tree.tree_id} has {unpaid} unpaid notes, 2 should have been refused"
            )
        self._say(
            f"{tree.notes.count - unpaid} wallets paid in ranges, {unpaid} refused, nobody held up by them"
        )
        self._set_blocked(False, claimer)
        index, word = self._note_of(tree, claimer)
        proof = tree.notes.proof(index)
        receipt = self._world.relayer.send(
            calls.claim_note(self._world.contracts, tree.tree_id, index, word, proof)
        )
        self.seen.claim_gas, self.seen.claimed = int(receipt["gasUsed"]), claimer
        self._say(
            f"{claimer}'s wallet is unblocked: one note claimed with a proof of {len(proof) // 44} steps"
        )
        index, word = self._note_of(tree, mover)
        self._redirect(tree, index, word, mover)

    def _redirect(self, tree: PaidNotes, index: int, word: int, mover: str) -> None:
        payee, amount = split_word(word)
        to = address_of(dev_key(0, f"new wallet of {mover}"))
        redirect = NoteRedirect(tree.tree_id, index, payee, amount, to, deadline=2**63)
        signature = sign_redirect(self._world.deployment, redirect, wallet_key(mover))
        proof = tree.notes.proof(index)
        receipt = self._world.relayer.send(
            calls.redirect_note(self._world.contracts, redirect, signature, proof)
        )
        self.seen.redirect_gas, self.seen.redirected = int(receipt["gasUsed"]), mover
        self.seen.redirected_to = to
        self._set_blocked(False, mover)
        self._say(f"{mover} signs that the other note goes to a new wallet: {usdc(amount)} USDC redirected")

    def _pay_what_is_left(self) -> None:
        """Wait for the nodes' range payments; what is left when they have stopped is claimed singly."""
        self._wait("every node done with paying", self._is_nobody_paying)
        left = 0
        for tree in self._notes(self._last_final()):
            for index, is_paid in enumerate(tree.is_paid):
                if not is_paid:
                    proof = tree.notes.proof(index)
                    self._world.relayer.send(
                        calls.claim_note(self._world.contracts, tree.tree_id, index, tree.words[index], proof)
                    )
                    left += 1
        self._say(f"all notes are paid{f', {left} of them by claims' if left else ''}")

    def _pay_shares(self) -> None:
        """Send the four other parties what they have earned."""
        for number, _ in ROUTES:
            for party in range(len(PARTIES)):
                self._world.relayer.send(calls.pay_share(self._world.contracts, number, party))
        self._say("community, steward, platform and operators have taken their shares")

    def _is_nobody_paying(self) -> bool:
        """Whether every running node has seen the last final epoch and has nothing more to pay."""
        running = [index for index in range(len(self._network.keys)) if self._network.is_running(index)]
        last = self._last_final()
        return all(
            status.get("last_finalized_epoch", 0) >= last and not status.get("is_paying", True)
            for status in map(self._network.status, running)
        )

    def _notes(self, last_epoch: int) -> tuple[PaidNotes, ...]:
        with NodeView(self._world, self._network) as node:
            return read_notes(self._world.reader, last_epoch, node.words)

    def _note_of(self, tree: PaidNotes, patient: str) -> tuple[int, int]:
        """Return position and word of a patient's note."""
        wallet = address_of(wallet_key(patient))
        for index, word in enumerate(tree.words):
            if split_word(word)[0] == wallet:
                return index, word
        raise InvariantBroken(f"{patient} has no note in tree {tree.tree_id}")

    def _set_blocked(self, is_blocked: bool, *patients: str) -> None:
        for patient in patients:
            wallet = checksum_address(address_of(wallet_key(patient)))
            self._world.relayer.send(self._world.contracts.token.functions.setBlocked(wallet, is_blocked))

    def _due(self) -> int:
        (due,) = self._world.reader.query([self._world.contracts.views.escrow.due(SIMILAR)])
        return int(due)

    def _epoch_now(self) -> int:
        deployment = self._world.deployment
        now_s = max(self._world.reader.head().timestamp_s, deployment.genesis_s)
        return epoch_of_ms(deployment.genesis_s, deployment.epoch_seconds, now_s * 1000)

    def _last_final(self) -> int:
        reader = self._world.reader
        return reader.settlement_state(reader.head().hash).last_epoch

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait, with something moving on the screen. What is not answered for once is asked again."""
        with self._console.status(f"{what} …") if self._console.is_terminal else nullcontext():
            self._network.wait_until(what, patiently(is_so), WAIT_TIMEOUT_S)

    @contextmanager
    def _progress(self, what: str, count: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as bar:
            task = bar.add_task(what, total=count)
            yield lambda: bar.advance(task)

    def _say(self, text: str) -> None:
        elapsed_s = time.monotonic() - self._started
        self._console.print(f"[dim]{elapsed_s:5.1f} s[/]  {text}", soft_wrap=True)
