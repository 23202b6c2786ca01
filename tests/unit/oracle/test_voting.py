"""A node signs when k nodes hold the same bundle, once per (epoch, attempt); only good signatures count."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.epochs.voting import Voting
from usufruct_oracle.guards.limits import GuardLimits
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vote
from usufruct_protocol.bundle import possession_proof
from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.eip712 import epoch_report_hash, typed_digest
from usufruct_protocol.errors import Transient
from usufruct_protocol.signing import LocalSigner, Signer, address_of, recover, sign_digest

from tests.unit.oracle.conftest import NewStore
from tests.unit.oracle.guard_kit import Machine, guards
from tests.unit.oracle.lane_kit import DOMAIN
from tests.unit.oracle.test_epoch_store import report

KEYS = sorted((bytes([number]) * 32 for number in range(1, 5)), key=address_of)
SIGNERS = tuple(address_of(key) for key in KEYS)
ME = 1
BUNDLES = {
    bundle_hash: {"words.bin": bundle_hash, "rosters.bin": b"rosters"}
    for bundle_hash in (b"\xbb" * 32, b"\xcc" * 32)
}


@dataclass
class Said:
    """Stands for the peers: what each would answer now."""

    votes: dict[int, Vote | None] = field(default_factory=dict)

    def ask_all(self, question: Callable[[Any], Any]) -> dict[bytes, Any]:
        answers = {}
        for index, vote in self.votes.items():
            peer = SimpleNamespace(address=SIGNERS[index], vote=lambda _epoch, _attempt, vote=vote: vote)
            answers[SIGNERS[index]] = question(peer)
        return answers


def context() -> EpochContext:
    chain = ChainState(
        chain_id=31337,
        settlement=b"\x5e" * 20,
        epoch=1,
        previous_report_hash=bytes(32),
        previous_period_end_s=0,
        epoch_seconds=10,
        cutoff_block=5,
        cutoff_block_hash=b"\x01" * 32,
        cutoff_time_s=11,
        next_attempt=0,
        signer_set_version=1,
        signers=SIGNERS,
        pool=0,
        note_minimum=1,
        custodian=bytes(20),
        consent_root=bytes(32),
        licenses=(),
        lanes=(),
    )
    return EpochContext(chain, Base.genesis(), ME)


def stored(attempt: int, bundle: bytes = b"\xbb" * 32) -> StoredReport:
    made = dataclasses.replace(report(1, bundle), attempt=attempt)
    return StoredReport(made, epoch_report_hash(made), bundle)


def vote(index: int, mine: StoredReport, *, signed: bool = False, key: bytes | None = None) -> Vote:
    """What signer `index` shows; everybody can make everything but the signature."""
    signature = sign_digest(key or KEYS[index], typed_digest(DOMAIN, mine.report_hash)) if signed else None
    proof = possession_proof(DOMAIN, SIGNERS[index], mine.report_hash, BUNDLES[mine.bundle_hash])
    return Vote(index, mine.report_hash, mine.bundle_hash, signature, proof)


@pytest.fixture
def said() -> Said:
    return Said()


@dataclass
class Signing:
    """A signer that is unreachable at times, and remembers what it was given."""

    asked: list[bytes] = field(default_factory=list)
    is_down: bool = False

    @property
    def address(self) -> bytes:
        return SIGNERS[ME]

    def sign_digest(self, digest: bytes) -> bytes:
        self.asked.append(digest)
        if self.is_down:
            raise Transient("the signer does not answer")
        return sign_digest(KEYS[ME], digest)


@pytest.fixture
def voting(store: Store, said: Said, tmp_path: Path) -> Voting:
    with store.write() as db:
        epoch_store.set_signing_floor(db, 1)
    return voter(store, said, tmp_path, LocalSigner(KEYS[ME]))


def voter(
    store: Store, said: Said, folder: Path, signer: Signer | None, machine: Machine | None = None
) -> Voting:
    limits = GuardLimits.off() if machine is None else GuardLimits(new_lanes=None, roster_change_percent=None)
    kept = guards(store, folder, limits, machine)
    with store.write() as db:
        for bundle_hash, files in BUNDLES.items():
            epoch_store.put_bundle(db, 1, bundle_hash, files)
    return Voting(store, said, DOMAIN, signer, kept)  # type: ignore[arg-type]


def own_vote(store: Store, attempt: int) -> Vote | None:
    with store.read() as db:
        return epoch_store.votes(db, 1, attempt).get(SIGNERS[ME])


def test_it_signs_when_k_show_the_same_bundle_and_not_before(
    store: Store, voting: Voting, said: Said
) -> None:
    mine = stored(0)
    said.votes = {0: vote(0, mine), 2: vote(2, stored(0, b"\xcc" * 32)), 3: None}
    voting.advance(context(), mine)
    assert own_vote(store, 0) == vote(ME, mine)
    assert voting.quorum(context(), mine) is None
    said.votes[3] = vote(3, mine)
    voting.advance(context(), mine)
    shown = own_vote(store, 0)
    assert shown is not None
    assert shown.signature is not None
    assert recover(typed_digest(DOMAIN, mine.report_hash), shown.signature) == SIGNERS[ME]


def test_inv_46_a_vote_without_a_proof_of_its_own_counts_for_nothing(
    store: Store, voting: Voting, said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    """A claim, another's proof, the proof of another attempt, of a bent bundle, of none, of another chain."""
    mine = stored(1)
    files = BUNDLES[mine.bundle_hash]
    bent = {**files, "rosters.bin": b"rosterz"}
    for proof in (
        bytes(32),
        vote(0, mine).possession,
        vote(ME, mine).possession,
        vote(2, stored(0)).possession,
        possession_proof(DOMAIN, SIGNERS[2], mine.report_hash, bent),
        possession_proof(DOMAIN, SIGNERS[2], mine.report_hash, {}),
        possession_proof(bytes(32), SIGNERS[2], mine.report_hash, files),
    ):
        said.votes = {0: vote(0, mine), 2: dataclasses.replace(vote(2, mine, signed=True), possession=proof)}
        voting.begin(1)
        voting.advance(context(), mine)
        voting.begin(2)  # a new epoch forgets how often it was wrong
        with store.read() as db:
            assert SIGNERS[2] not in epoch_store.votes(db, 1, 1)
            assert epoch_store.last_signed(db) is None
    assert "does not prove that it holds its bundle" in caplog.text
    said.votes[2] = vote(2, mine)
    voting.advance(context(), mine)
    with store.read() as db:
        assert epoch_store.last_signed(db) is not None


def test_wrong_proofs_are_not_looked_at_for_ever(store: Store, voting: Voting, said: Said) -> None:
    mine = stored(0)
    for wrong in range(3):
        said.votes = {2: dataclasses.replace(vote(2, mine), possession=bytes([wrong]) * 32)}
        voting.advance(context(), mine)
    said.votes = {2: vote(2, mine), 3: vote(3, mine)}
    voting.advance(context(), mine)
    with store.read() as db:
        assert set(epoch_store.votes(db, 1, 0)) == {SIGNERS[ME], SIGNERS[3]}


def test_a_quorum_needs_k_good_signatures_over_the_same_report(
    store: Store, voting: Voting, said: Said
) -> None:
    mine = stored(0)
    said.votes = {
        0: vote(0, mine, signed=True),
        2: vote(2, mine, signed=True, key=KEYS[3]),  # somebody else's signature
        3: vote(3, mine),
    }
    voting.advance(context(), mine)
    voting.advance(context(), mine)
    assert voting.quorum(context(), mine) is None
    said.votes[2] = vote(3, mine)  # in another's name
    said.votes[3] = vote(3, mine, signed=True)
    voting.advance(context(), mine)
    signatures = voting.quorum(context(), mine)
    assert signatures is not None
    assert sorted(signatures) == [0, 1, 3]
    for index, signature in signatures.items():
        assert recover(typed_digest(DOMAIN, mine.report_hash), signature) == SIGNERS[index]


def test_inv_24_it_never_signs_twice_or_lower(store: Store, voting: Voting, said: Said) -> None:
    later, other = stored(3), stored(3, b"\xcc" * 32)
    for attempt, mine, is_signed in (
        (3, later, True),
        (3, other, False),
        (2, stored(2), False),
        (4, stored(4), True),
    ):
        said.votes = {index: vote(index, mine) for index in (0, 2, 3)}
        voting.advance(context(), mine)
        with store.read() as db:
            last = epoch_store.last_signed(db)
        assert last is not None
        assert (last[:3] == (1, attempt, mine.report_hash)) is is_signed
    with store.read() as db:
        kept = db.execute("SELECT attempt, report_hash FROM signed ORDER BY attempt").fetchall()
    assert kept == [(3, later.report_hash), (4, stored(4).report_hash)]


def test_a_restarted_node_shows_the_same_signature(
    store: Store, voting: Voting, said: Said, tmp_path: Path
) -> None:
    mine = stored(0)
    said.votes = {index: vote(index, mine) for index in (0, 2)}
    voting.advance(context(), mine)
    before = own_vote(store, 0)
    voter(store, said, tmp_path, LocalSigner(KEYS[ME])).advance(context(), mine)
    assert own_vote(store, 0) == before
    assert before is not None
    assert before.signature is not None


def test_nothing_below_the_signing_floor_is_signed(store: Store, voting: Voting, said: Said) -> None:
    """The database is new: what its key signed before is not known."""
    mine = stored(0)
    said.votes = {index: vote(index, mine) for index in (0, 2, 3)}
    with store.write() as db:
        epoch_store.set_signing_floor(db, 2)
    voting.advance(context(), mine)
    with store.read() as db:
        assert epoch_store.last_signed(db) is None
    with store.write() as db:
        epoch_store.set_signing_floor(db, 1)
    voting.advance(context(), mine)
    with store.read() as db:
        assert epoch_store.last_signed(db) is not None


def test_a_node_without_a_key_neither_votes_nor_signs(store: Store, said: Said, tmp_path: Path) -> None:
    mine = stored(0)
    said.votes = {index: vote(index, mine, signed=True) for index in (0, 2, 3)}
    dry = voter(store, said, tmp_path, None)
    dry.advance(context(), mine)
    assert own_vote(store, 0) is None
    with store.read() as db:
        assert epoch_store.last_signed(db) is None
    assert dry.quorum(context(), mine) is not None  # it sees that the others agree


def test_inv_24_what_was_given_to_the_signer_is_as_good_as_signed(
    store: Store, voting: Voting, said: Said, tmp_path: Path
) -> None:
    """A program may keep what it signs, though its answer was lost: nothing else is given to it for that."""
    signer = Signing(is_down=True)
    first, other = stored(3), stored(3, b"\xcc" * 32)
    said.votes = {index: vote(index, first) for index in (0, 2, 3)}
    with pytest.raises(Transient):
        voter(store, said, tmp_path, signer).advance(context(), first)
    shown = own_vote(store, 3)
    assert shown is not None
    assert shown.signature is None
    for mine in (other, stored(2)):
        said.votes = {index: vote(index, mine) for index in (0, 2, 3)}
        voter(store, said, tmp_path, signer).advance(context(), mine)
    assert signer.asked == [typed_digest(DOMAIN, first.report_hash)]

    signer.is_down = False
    said.votes = {index: vote(index, first) for index in (0, 2, 3)}
    voter(store, said, tmp_path, signer).advance(context(), first)
    assert signer.asked == [typed_digest(DOMAIN, first.report_hash)] * 2
    with store.read() as db:
        last = epoch_store.last_signed(db)
    assert last is not None
    assert last[3] is not None


def test_inv_44_a_held_node_votes_and_waits_and_signs_once(
    store: Store, voting: Voting, said: Said, tmp_path: Path
) -> None:
    machine = Machine(clock_s=20_000)
    signer = Signing()
    held = voter(store, said, tmp_path, signer, machine)
    for attempt in (0, 1):
        mine = stored(attempt)
        said.votes = {index: vote(index, mine, signed=True) for index in (0, 2, 3)}
        held.advance(context(), mine)
        assert own_vote(store, attempt) == vote(ME, mine)
        assert held.quorum(context(), mine) is not None  # k others signed: nothing waits for this node
    assert signer.asked == []
    machine.clock_s = machine.head_s
    for mine in (stored(1), stored(1, b"\xcc" * 32), stored(0)):
        said.votes = {index: vote(index, mine) for index in (0, 2, 3)}
        held.advance(context(), mine)
    assert signer.asked == [typed_digest(DOMAIN, stored(1).report_hash)]


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([b"\xbb" * 32, b"\xcc" * 32]), st.booleans(), st.booleans()),
    max_size=14,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_inv_24_and_44_whatever_is_held_or_down_one_report_per_attempt_in_order(
    new_store: NewStore, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bytes, bool, bool]]
) -> None:
    """Any attempts, any reports, held or not, signer up or down, the node started again before each step."""
    store, said, signer, machine = new_store(), Said(), Signing(), Machine()
    folder = tmp_path_factory.mktemp("node")
    with store.write() as db:
        epoch_store.set_signing_floor(db, 1)
    attempt_of = {
        typed_digest(DOMAIN, stored(attempt, bundle).report_hash): attempt
        for attempt in range(4)
        for bundle in (b"\xbb" * 32, b"\xcc" * 32)
    }
    for attempt, bundle, is_held, is_down in steps:
        mine = stored(attempt, bundle)
        said.votes = {index: vote(index, mine) for index in (0, 2, 3)}
        signer.is_down = is_down
        machine.clock_s = machine.head_s + (5_000 if is_held else 0)
        with suppress(Transient):
            voter(store, said, folder, signer, machine).advance(context(), mine)
    asked = list(dict.fromkeys(signer.asked))
    attempts = [attempt_of[digest] for digest in asked]
    assert attempts == sorted(set(attempts))  # one report per attempt, attempts only go up
    with store.read() as db:
        kept = db.execute("SELECT report_hash FROM signed ORDER BY attempt").fetchall()
    assert [typed_digest(DOMAIN, row[0]) for row in kept] == asked
