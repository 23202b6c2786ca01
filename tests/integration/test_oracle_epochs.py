"""Four node processes on a real chain: epochs settle, late receipts count, dead nodes hold up nobody.

The tests share one committee and go on from whatever epoch the one before has left.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from operator import ge

import httpx
import pytest
from usufruct_chain import calls
from usufruct_chain.onchain import SubmittedReport
from usufruct_oracle.bundles.sealing import NotOpened, SealingKey
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_protocol.bundle import ACCRUALS, LANES, WORDS, manifest_hash, unpack_lanes
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import LaneFrontier, receipt_hashes
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address
from usufruct_protocol.sumtree import NoteTree, split_word, unpack_words

from tests.integration.oracle_world import (
    ATTEMPT_S,
    Committee,
    committee,
    payout,
    proposer,
    record_tag,
    roster,
)
from tests.unit.oracle.lane_kit import KitLane

PER_UNIT = 2  # base units: the offers of these tests ask 2 USDC per million units


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("committee")) as made:
        made.license(MeterKind.INFERENCE, 5)
        made.license(MeterKind.RETRIEVAL, 4)
        made.put_rosters()
        yield made


@pytest.fixture(autouse=True)
def _all_nodes_run(here: Committee) -> None:
    here.network.start()


@pytest.fixture
def epoch(here: Committee) -> int:
    """The epoch that is open."""
    return here.last_final() + 1


def counted(here: Committee, final: SubmittedReport, index: int = 0) -> list[int]:
    """Receipts counted per lane number in a finalized epoch, from a node's public bundle."""
    here.wait_known_final(index, final.report.epoch)
    answer = here.network.get(index, f"/v1/epochs/{final.report.epoch}/bundle/{LANES}")
    return [0 if head is None else head.count for head in unpack_lanes(answer.content)]


def units(final: SubmittedReport) -> dict[int, int]:
    return {line.license_id: line.cumulative_units for line in final.report.lines}


def balances(here: Committee, license_id: int, people: int) -> list[int]:
    return list(here.world.reader.token_balances([payout(license_id, person) for person in range(people)]))


def test_an_epoch_settles_and_everyone_is_paid_to_the_base_unit(here: Committee, epoch: int) -> None:
    lane = here.lane(1)
    before = balances(here, 1, 5)
    lane.meter(*([1000] * 40), at_ms=here.at_ms(epoch))
    here.ship()
    final = here.settle(epoch)
    here.wait_paid(epoch)
    assert units(final) == {1: 40_000}
    charge = 40_000 * PER_UNIT
    assert [(line.license_id, line.charge) for line in final.report.lines] == [(1, charge)]
    # 70 % to contributors with weights 1 … 5; what is below one base unit stays accrued.
    share = charge * 7 // 10
    paid = [after - then for after, then in zip(balances(here, 1, 5), before, strict=True)]
    assert paid == [share * weight // 15 for weight in range(1, 6)]
    assert final.report.attempt == 0
    for index in range(4):
        here.wait_known_final(index, epoch)
        shown = here.network.get(index, f"/v1/epochs/{epoch}").json()
        assert shown["report_hash"] == "0x" + final.report_hash.hex()


def test_retrieval_pays_the_people_whose_records_were_used(here: Committee, epoch: int) -> None:
    lane = here.lane(2)
    at_ms = here.at_ms(epoch)
    before = balances(here, 2, 4)
    lane.meter(*([1000] * 3), at_ms=at_ms, usage=[(record_tag(2, 0), 1), (record_tag(2, 2), 1)])
    lane.meter(1000, at_ms=at_ms, usage=[(record_tag(2, 2), 1), (keccak256(b"nobody's record"), 5)])
    lane.meter(1000, at_ms=at_ms)
    here.ship()
    here.settle(epoch)
    here.wait_paid(epoch)
    share = 5_000 * PER_UNIT * 7 // 10
    paid = [after - then for after, then in zip(balances(here, 2, 4), before, strict=True)]
    assert paid == [share * 3 // 7, 0, share * 4 // 7, 0]


def test_a_blocked_wallet_stops_nobody_else(here: Committee, epoch: int) -> None:
    world = here.world
    blocked = checksum_address(payout(1, 2))
    world.sender("anyone").send(world.contracts.token.functions.setBlocked(blocked, True))
    lane = here.lane(1)
    before = balances(here, 1, 5)
    lane.meter(150_000, at_ms=here.at_ms(epoch))
    here.post(lane.batch())
    here.settle(epoch)
    share = 150_000 * PER_UNIT * 7 // 10

    def paid() -> list[int]:
        return [after - then for after, then in zip(balances(here, 1, 5), before, strict=True)]

    others = [0 if person == 2 else share * (person + 1) // 15 for person in range(5)]
    here.network.wait_until("the others are paid", lambda: all(map(ge, paid(), others)))
    sent = world.reader.head().number
    time.sleep(1.0)
    assert world.reader.head().number == sent  # nobody burns gas on a wallet that refuses
    world.sender("anyone").send(world.contracts.token.functions.setBlocked(blocked, False))
    words = unpack_words(here.network.get(0, f"/v1/epochs/{epoch}/bundle/{WORDS}").content)
    index = next(place for place, word in enumerate(words) if split_word(word)[0] == payout(1, 2))
    proof = NoteTree(words).proof(index)
    world.sender("anyone").send(calls.claim_note(world.contracts, 2 * epoch, index, words[index], proof))
    assert paid()[2] >= share * 3 // 15
    here.wait_paid(epoch)


def test_a_receipt_that_reached_one_node_counts_and_one_that_came_late_counts_next(
    here: Committee, epoch: int
) -> None:
    lane = here.lane(1)
    lane.meter(*([10] * 5), at_ms=here.at_ms(epoch))
    here.ship()
    lane.meter(7, at_ms=here.at_ms(epoch, 200))
    alone = (proposer(epoch, 0) + 2) % 4
    (answer,) = here.post(lane.batch(5), alone)
    assert answer.status_code == 200
    here.close_period(epoch)
    here.wait_frozen(epoch)
    lane.meter(9, at_ms=here.at_ms(epoch, 300))
    assert {answer.status_code for answer in here.post(lane.batch(5))} == {200}
    first = here.wait_final(epoch)
    assert counted(here, first)[lane.number] == 6
    committed = units(first)[1]
    second = here.settle(epoch + 1)
    assert counted(here, second)[lane.number] == 7
    assert units(second)[1] == committed + 9


def test_receipts_of_the_next_period_wait_for_it(here: Committee, epoch: int) -> None:
    lane = here.lane(1)
    lane.meter(5, at_ms=here.at_ms(epoch + 1) - 100_001)  # the last millisecond of the period
    here.post(lane.batch())
    lane.meter(6, at_ms=here.at_ms(epoch + 1) - 100_000)  # the first of the next
    assert {answer.status_code for answer in here.post(lane.batch(1))} == {200}
    assert counted(here, here.settle(epoch))[lane.number] == 1
    assert counted(here, here.settle(epoch + 1))[lane.number] == 2


def test_an_empty_epoch_is_reported_too(here: Committee, epoch: int) -> None:
    final = here.settle(epoch)
    assert final.report.lines == ()
    assert final.report.epoch == epoch


def test_a_lane_that_signs_two_histories_is_stopped_and_no_other(here: Committee, epoch: int) -> None:
    honest, liar = here.lane(1), here.lane(1)
    at_ms = here.at_ms(epoch)
    honest.meter(*([3] * 4), at_ms=at_ms)
    liar.meter(*([10] * 3), at_ms=at_ms)
    here.ship()
    other = liar.fork()
    liar.meter(10, 10, at_ms=at_ms + 1)
    other.meter(1, 1, at_ms=at_ms + 2)
    assert {answer.status_code for answer in here.post(liar.batch(3), 0, 1)} == {200}
    assert {answer.status_code for answer in here.post(other.batch(3), 2, 3)} == {200}
    here.close_period(epoch)
    here.wait_frozen(epoch)
    for attempt in range(1, 4):  # whoever proposes first may not know yet
        if here.world.reader.report_hash(epoch) != bytes(32):
            break
        time.sleep(1.0)
        here.pass_time(ATTEMPT_S)
        assert attempt < 4
    final = here.wait_final(epoch)
    assert counted(here, final)[honest.number] == 4
    assert counted(here, final)[liar.number] == 3
    for index in range(4):
        held = here.network.status(index)["lanes"]
        assert held["0x" + liar.address.hex()]["conflict_seq"] == 3
        assert held["0x" + honest.address.hex()]["conflict_seq"] is None
    liar.meter(5, at_ms=at_ms + 3)
    (refused,) = here.post(liar.batch(5), 0)
    assert (refused.status_code, refused.json()["code"], refused.json()["seq"]) == (409, "lane_conflict", 3)
    honest.meter(4, at_ms=here.at_ms(epoch + 1))
    here.post(honest.batch(4))
    second = here.settle(epoch + 1)
    assert (counted(here, second)[honest.number], counted(here, second)[liar.number]) == (5, 3)
    here.stopped.add(liar.number)


def test_a_rejected_report_is_counted_again(here: Committee, epoch: int) -> None:
    lane = here.lane(1)
    lane.meter(50, at_ms=here.at_ms(epoch))
    here.post(lane.batch())
    here.close_period(epoch)
    here.wait_pending(epoch)
    rejected = here.world.reader.report_calldata(epoch)
    assert rejected is not None
    guardian = here.world.sender("guardian")
    guardian.send(calls.reject_report(here.world.contracts, rejected.report, "a drill"))
    final = here.wait_final(epoch)
    assert final.report.attempt > rejected.report.attempt
    assert final.report.bundle_hash == rejected.report.bundle_hash
    assert units(final) == {line.license_id: line.cumulative_units for line in rejected.report.lines}


def test_a_withheld_roster_holds_up_its_own_license_only(here: Committee, epoch: int) -> None:
    license_id = here.license(MeterKind.INFERENCE, 3)
    hidden = here.rosters.pop(license_id)
    waiting, other = here.lane(license_id), here.lane(1)
    waiting.meter(600, at_ms=here.at_ms(epoch))
    other.meter(10, at_ms=here.at_ms(epoch))
    here.post(waiting.batch())
    here.post(other.batch())
    first = here.settle(epoch)
    charges = {line.license_id: line.charge for line in first.report.lines}
    assert charges[license_id] == 0
    assert charges[1] > 0
    here.network.put_roster(license_id, hidden, nodes=[2])  # one node is enough, the others fetch it
    second = here.settle(epoch + 1)
    assert {line.license_id: line.charge for line in second.report.lines} == {license_id: 600 * PER_UNIT}


def test_restricted_files_go_to_peers_only(here: Committee, epoch: int) -> None:
    final = epoch - 1
    here.wait_known_final(0, final)
    public = here.network.get(0, f"/v1/epochs/{final}/bundle/{WORDS}")
    assert public.status_code == 200
    root = roster(1, 5).root
    closed = [
        f"/v1/epochs/{final}/bundle/{ACCRUALS}",
        f"/v1/rosters/0x{root.hex()}",
        f"/v1/lanes/0x{here.lanes[0].address.hex()}/batches?from_seq=0&to_count=1",
        f"/v1/lanes/0x{here.lanes[0].address.hex()}/evidence",
    ]
    keys = here.network.keys
    domain = here.lanes[0].domain
    reader, other = SealingKey.generate(), SealingKey.generate()
    me = address_of(keys[0])

    def ask(key: bytes, to: bytes, path: str, signed_path: str | None = None) -> httpx.Response:
        auth = PeerAuth(domain, bytes(20), LocalSigner(key), frozenset)
        header = auth.header(to, "GET", path if signed_path is None else signed_path)
        return httpx.get(here.network.urls[0] + path, headers=header, trust_env=False)

    for path in closed:
        assert here.network.get(0, path).json()["code"] == "not_a_peer"
        mark = "&" if "?" in path else "?"
        sealed = f"{path}{mark}recipient={reader.recipient}"
        answer = ask(keys[1], me, sealed)
        assert answer.status_code == 200
        assert answer.content.startswith(b"age-encryption.org/v1\n")
        with pytest.raises(NotOpened):
            other.open(answer.content, path)
        opened = reader.open(answer.content, path)
        if ACCRUALS in path:
            assert opened.startswith(b"UFA1")
        assert ask(keys[1], me, path).status_code == 422
        assert ask(keys[1], me, f"{path}{mark}recipient=age1nobody").status_code == 422
        assert ask(keys[1], me, f"{path}{mark}recipient={other.recipient}", sealed).status_code == 403
        assert ask(b"\x01" * 32, me, sealed).status_code == 403
        assert ask(keys[1], address_of(keys[2]), sealed).status_code == 403
        assert ask(keys[1], me, sealed, "/health").status_code == 403
    manifest = here.network.get(0, f"/v1/epochs/{final}/bundle").json()
    entries = {
        name: (bytes.fromhex(entry["sha256"][2:]), entry["size"]) for name, entry in manifest["files"].items()
    }
    submitted = here.world.reader.report_calldata(final)
    assert submitted is not None
    assert manifest_hash(entries) == submitted.report.bundle_hash
    assert entries[WORDS] == (hashlib.sha256(public.content).digest(), len(public.content))


def test_what_a_node_refuses_it_names(here: Committee) -> None:
    stranger = KitLane(200, key=b"\x77" * 32, domain=here.lanes[0].domain)
    stranger.meter(1, at_ms=here.at_ms(1))
    (unknown,) = here.post(stranger.batch(), 0)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_lane")
    assert unknown.headers["content-type"] == "application/problem+json"
    lane = here.lanes[0]
    (gap,) = here.post(KitLane.batch(_longer(lane), lane.count + 1), 0)
    assert (gap.status_code, gap.json()["code"], gap.json()["expected_seq"]) == (409, "gap", lane.count)
    url = here.network.urls[0]
    garbage = here.http.post(f"{url}/v1/batches", content=b"garbage")
    assert (garbage.status_code, garbage.json()["code"]) == (422, "input_rejected")
    large = here.http.post(f"{url}/v1/batches", content=bytes(9 * 1024 * 1024))
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    held = here.http.put(f"{url}/v1/rosters/1", content=roster(1, 6).to_bytes())
    assert (held.status_code, held.json()["root"]) == (200, "0x" + here.rosters[1].root.hex())
    wrong = here.http.put(f"{url}/v1/rosters/99", content=roster(99, 6).to_bytes())
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_roster")
    assert here.network.get(0, "/v1/nothing").json()["code"] == "not_found"
    assert here.network.get(0, f"/v1/epochs/{2**70}").status_code == 422
    assert here.network.get(0, "/v1/epochs/99/frozen").status_code == 404
    assert here.network.get(0, f"/v1/lanes/0x{'00' * 20}").status_code == 404


def _longer(lane: KitLane) -> KitLane:
    longer = lane.fork()
    longer.meter(1, 1)
    return longer


def test_a_caller_can_check_that_a_receipt_is_its_own(here: Committee) -> None:
    lane = next(each for each in here.lanes if each.count > 3)
    path = f"/v1/lanes/0x{lane.address.hex()}/hashes"
    hashes = here.network.get(1, f"{path}?from_seq=0&to_count={lane.count}").content
    assert hashes == b"".join(receipt_hashes(lane.address, lane.records))
    frontier = LaneFrontier()
    frontier.extend([hashes[at : at + 32] for at in range(0, len(hashes), 32)])
    shown = here.network.get(1, f"/v1/lanes/0x{lane.address.hex()}").json()["checkpoint"]
    assert shown["receipts_root"] == "0x" + frontier.root().hex()
    assert here.network.get(1, f"{path}?from_seq=2&to_count=3").content == hashes[64:96]
    assert here.network.get(1, f"{path}?from_seq=99999&to_count=100000").content == b""


def test_a_dead_proposer_costs_one_attempt_and_catches_up_later(here: Committee, epoch: int) -> None:
    lane = here.lane(1)
    lane.meter(11, at_ms=here.at_ms(epoch))
    here.post(lane.batch())
    dead = proposer(epoch, 0)
    here.network.kill(dead)
    here.close_period(epoch)
    here.wait_frozen(epoch)
    time.sleep(0.5)
    assert here.world.reader.report_hash(epoch) == bytes(32)
    here.pass_time(ATTEMPT_S)
    first = here.wait_final(epoch)
    assert first.report.attempt == 1
    lane.meter(12, at_ms=here.at_ms(epoch + 1))
    here.post(lane.batch(1))
    here.close_period(epoch + 1)
    here.wait_pending(epoch + 1)
    here.network.start(dead)
    second = here.wait_final(epoch + 1)
    here.wait_known_final(dead, epoch + 1)
    assert "fetched the bundle" in here.log_of(dead)
    # It has the missing receipts and the accruals: it signs the next report like everybody else.
    lane.meter(13, at_ms=here.at_ms(epoch + 2))
    here.post(lane.batch(0))
    absent = (dead + 1) % 4
    here.network.kill(absent)
    here.close_period(epoch + 2)
    here.wait_frozen(epoch + 2)
    if proposer(epoch + 2, 0) == absent:
        here.pass_time(ATTEMPT_S)
    third = here.wait_final(epoch + 2)
    assert units(third)[1] == units(second)[1] + 13
