"""Reads of the chain at named blocks.

Every read of state names a block by hash (EIP-1898), so that what belongs together comes from one state even
when the chain is reorganized in between, and so that anyone can read the same again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from usufruct_protocol.chain_state import ChainState, LaneState, LicenseState, MeterKind
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.money import BPS, SplitBps
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import checksum_address, parse_address

from usufruct_chain import submissions
from usufruct_chain.contracts import Contracts
from usufruct_chain.onchain import AccountState, Block, SettlementState, SubmittedReport, TreeState
from usufruct_chain.rpc import Request, Rpc, data, hexed, quantity
from usufruct_chain.views import ViewCall

_STATES_KEPT = 16
_CALLS_PER_LICENSE = 5


class _Frame(NamedTuple):
    """What the first round trip of a whole read answers."""

    settlement: SettlementState
    epoch_seconds: int
    note_minimum: int
    reserve_issued_epoch: int
    pool: int
    custodian: str
    consent_root: bytes
    license_count: int
    lane_count: int

    @property
    def epoch(self) -> int:
        return self.settlement.last_epoch + 1


class Reader:
    """Reads of one deployment.

    Raises, from every method: Transient when the endpoint does not answer or does not know the block (a
    reorganization, or a node that lags); ConfigInvalid when the contracts are not there.
    """

    def __init__(self, contracts: Contracts) -> None:
        self.contracts = contracts
        self._views = contracts.views
        self._rpc = Rpc(contracts.w3)
        self._settlement_states: OrderedDict[bytes, SettlementState] = OrderedDict()

    def head(self) -> Block:
        """Return the newest block."""
        return self._block("eth_getBlockByNumber", "latest")

    def block(self, number: int) -> Block:
        """Return the block of a number, on the chain as the endpoint sees it now."""
        return self._block("eth_getBlockByNumber", hex(number))

    def block_by_hash(self, block_hash: bytes) -> Block:
        """Return the block of a hash."""
        return self._block("eth_getBlockByHash", hexed(block_hash))

    def find_cutoff(
        self, period_end_s: int, grace_s: int, after_block: int, finality_depth: int
    ) -> Block | None:
        """Return the cut-off block of a period, or None when the chain has not got that far.

        It is the first block with `timestamp >= period_end_s + grace_s` and `number > after_block` (the block
        that finalized the epoch before). It is returned once `finality_depth` blocks lie on top of it. Blocks
        before the deployment do not count: there the contracts have no state to read.

        Source: docs/spec.md, cut-off.
        """
        due_s = period_end_s + grace_s
        head = self.head()
        low = max(after_block, self.contracts.deployment.deployed_block - 1) + 1
        high = head.number - finality_depth
        if head.timestamp_s < due_s or high < low:
            return None
        found = head if finality_depth == 0 else self.block(high)
        if found.timestamp_s < due_s:
            return None
        found, low = self._first_from(due_s, low, found)
        self._require_first(found, low, due_s, after_block)
        return found

    def first_block_from(self, time_s: int, head: Block) -> Block | None:
        """Return the first block of a time or later, or None if there is none up to `head`.

        Blocks before the deployment do not count. Raises: Transient if the chain changes meanwhile.
        """
        if head.timestamp_s < time_s:
            return None
        lowest = min(self.contracts.deployment.deployed_block, head.number)
        found, low = self._first_from(time_s, lowest, head)
        self._require_first(found, low, time_s, 0)
        return found

    def _first_from(self, due_s: int, low: int, found: Block) -> tuple[Block, int]:
        """Halve between block number `low` and a block that is late enough; the answer is to be checked."""
        # `found` always satisfies the condition; everything below `low` fails it.
        while low < found.number:
            middle = self.block((low + found.number) // 2)
            if middle.timestamp_s >= due_s:
                found = middle
            else:
                low = middle.number + 1
        return found, low

    def _require_first(self, found: Block, low: int, due_s: int, after_block: int) -> None:
        """Check a search over block numbers against hashes: the chain may have changed while it ran."""
        if found.number != low:
            raise Transient(f"block {low} was replaced while a time was looked for")
        first_allowed = max(after_block + 1, self.contracts.deployment.deployed_block)
        if found.number > first_allowed and self.block_by_hash(found.parent_hash).timestamp_s >= due_s:
            raise Transient(f"block {found.number} was replaced while a time was looked for")

    def settlement_state(self, block_hash: bytes) -> SettlementState:
        """Return where reporting stood at a block. Asking again for a recent block costs no request."""
        known = self._settlement_states.get(block_hash)
        if known is None:
            (fields,) = self.query([self._views.settlement.state()], block_hash)
            known = SettlementState(*fields)
            self._settlement_states[block_hash] = known
            if len(self._settlement_states) > _STATES_KEPT:
                self._settlement_states.popitem(last=False)
        return known

    def read(self, block_hash: bytes) -> ChainState:
        """Return everything that a report takes from the chain, at its cut-off block.

        `available` of a license is what a report may charge (RoyaltyEscrow.chargeable): nothing while the
        buyer is free to withdraw, else a withdrawal after the cut-off could make a signed report fail.
        An anchor counts if it was posted by the end of the period that the block is the cut-off of.
        Three round trips for 10 licenses and 20 lanes; one more for each further 100 of 5 per license and
        3 per lane.
        Raises: InputRejected if the registry holds a meter kind that this version does not know.
        """
        block, frame = self._read_frame(block_hash)
        previous_report_hash, version, reserve_first, licenses, lanes = self._read_entries(block_hash, frame)
        signers, anchors, revoked_at_s = self._read_dependent(block_hash, frame, version, lanes)
        return ChainState(
            chain_id=self.contracts.deployment.chain_id,
            settlement=parse_address(self.contracts.deployment.settlement),
            epoch=frame.epoch,
            previous_report_hash=previous_report_hash,
            previous_period_end_s=frame.settlement.last_period_end_s,
            epoch_seconds=frame.epoch_seconds,
            cutoff_block=block.number,
            cutoff_block_hash=block.hash,
            cutoff_time_s=block.timestamp_s,
            next_attempt=frame.settlement.next_attempt,
            signer_set_version=version,
            signers=tuple(parse_address(signer) for signer in signers),
            pool=frame.pool,
            note_minimum=frame.note_minimum,
            custodian=parse_address(frame.custodian),
            consent_root=frame.consent_root,
            licenses=tuple(
                _license_from(license_id, *answers) for license_id, answers in enumerate(licenses, start=1)
            ),
            lanes=tuple(
                _lane_from(number, *answers)
                for number, answers in enumerate(zip(lanes, anchors, revoked_at_s, strict=True))
            ),
            reserve_first=reserve_first,
            reserve_issued_epoch=frame.reserve_issued_epoch,
        )

    def _read_frame(self, block_hash: bytes) -> tuple[Block, _Frame]:
        """The first round trip: where reporting stands, and how much there is to read."""
        views = self._views
        block, (state, *numbers) = self._read_at(
            block_hash,
            [
                views.settlement.state(),
                views.settlement.epochSeconds(),
                views.settlement.noteMinimum(),
                views.settlement.reserveIssuedEpoch(),
                views.splitter.pool(),
                views.splitter.custodian(),
                views.consent_log.accumulator(),
                views.registry.licenseCount(),
                views.registry.laneCount(),
            ],
        )
        return block, _Frame(SettlementState(*state), *numbers)

    def _read_entries(
        self, block_hash: bytes, frame: _Frame
    ) -> tuple[bytes, int, bool, list[list[Any]], list[Any]]:
        """The second: last report, committee, and every license and lane."""
        views = self._views
        per_license = [
            call for number in range(1, frame.license_count + 1) for call in self._license_calls(number)
        ]
        previous_report_hash, version, reserve_first, *entries = self.query(
            [
                views.settlement.reportHash(frame.settlement.last_epoch),
                views.committee.versionFor(frame.epoch),
                views.committee.issuesReserveFirst(frame.epoch),
                *per_license,
                *(views.registry.laneAt(number) for number in range(frame.lane_count)),
            ],
            block_hash,
        )
        ends = range(_CALLS_PER_LICENSE, len(per_license) + 1, _CALLS_PER_LICENSE)
        licenses = [entries[end - _CALLS_PER_LICENSE : end] for end in ends]
        return previous_report_hash, version, reserve_first, licenses, entries[len(per_license) :]

    def _read_dependent(
        self, block_hash: bytes, frame: _Frame, version: int, lanes: Sequence[Any]
    ) -> tuple[Sequence[str], list[Any], list[int]]:
        """The third: signers of the version, and each lane's anchor and revocation."""
        views = self._views
        period_end_s = frame.settlement.last_period_end_s + frame.epoch_seconds
        (signers, _from_epoch), *more = self.query(
            [
                views.committee.signersOf(version),
                *(views.anchors.anchorAt(lane, period_end_s) for lane, *_ in lanes),
                *(views.registry.laneRevokedAt(number) for number in range(frame.lane_count)),
            ],
            block_hash,
        )
        return signers, more[: frame.lane_count], more[frame.lane_count :]

    def report_hash(self, epoch: int, block_hash: bytes | None = None) -> bytes:
        """Return the hash of an epoch's pending or finalized report, 32 zero bytes when there is none.

        Without `block_hash`, here and below, the answer is of the newest block.
        """
        (found,) = self.query([self._views.settlement.reportHash(epoch)], block_hash)
        return bytes(found)

    def report_calldata(self, epoch: int, from_block: int | None = None) -> SubmittedReport | None:
        """Return an epoch's pending or finalized report as it was posted, or None when there is none.

        It is found by its event and decoded from the transaction, and only believed because it hashes to what
        the contract holds. Event logs are searched newest first, down to `from_block` (the deployment).
        Raises: Incompatible if the transaction holds the report in no readable form.
        """
        head = self.head()
        report_hash = self.report_hash(epoch, head.hash)
        if report_hash == bytes(32):
            return None
        lowest = self.contracts.deployment.deployed_block if from_block is None else from_block
        return submissions.find(
            self._rpc, self.contracts.deployment.settlement, epoch, report_hash, lowest, head.number
        )

    def account(self, license_id: int, block_hash: bytes | None = None) -> AccountState:
        """Return the escrow account of a license; all zero when nothing was ever deposited."""
        (fields,) = self.query([self._views.escrow.account(license_id)], block_hash)
        return AccountState(*fields)

    def tree(self, tree_id: int, block_hash: bytes | None = None) -> TreeState:
        """Return an issued tree of notes; the notes of epoch e are tree 2e. All zero when there is none."""
        (fields,) = self.query([self._views.splitter.tree(tree_id)], block_hash)
        return TreeState(*fields)

    def paid_bits(self, tree_id: int, n_words: int, block_hash: bytes | None = None) -> tuple[int, ...]:
        """Return the first `n_words` words of a tree's paid bits: bit i of word w is note 256 * w + i."""
        return tuple(
            self.query([self._views.splitter.paidBits(tree_id, word) for word in range(n_words)], block_hash)
        )

    def token_balances(self, addresses: Sequence[bytes], block_hash: bytes | None = None) -> tuple[int, ...]:
        """Return how much of the token each address holds, in base units, in the same order."""
        balances = [self._views.token.balanceOf(checksum_address(address)) for address in addresses]
        return tuple(self.query(balances, block_hash))

    def gas_balance_wei(self, address: bytes) -> int:
        """Return how much an account has to pay gas with, at the newest block."""
        return quantity(
            self._rpc.request("eth_getBalance", hexed(address), {"blockHash": hexed(self.head().hash)})
        )

    def query(self, calls: Sequence[ViewCall], block_hash: bytes | None = None) -> list[Any]:
        """Return the answers of any view calls at one block, in few round trips.

        `reader.query([reader.contracts.views.splitter.shareCredit(1, 0)], block.hash)`; see ViewCall.decode
        for the shapes. Raises: ContractRejected (decoded) if one reverts.
        """
        at = self.head().hash if block_hash is None else block_hash
        answers = self._rpc.batch([call.request(at) for call in calls])
        return [call.decode(answer) for call, answer in zip(calls, answers, strict=True)]

    def _read_at(self, block_hash: bytes, calls: Sequence[ViewCall]) -> tuple[Block, list[Any]]:
        """The block itself and view calls at it, in one round trip."""
        header: Request = ("eth_getBlockByHash", (hexed(block_hash), False))
        answer, *answers = self._rpc.batch([header, *(call.request(block_hash) for call in calls)])
        decoded = [call.decode(given) for call, given in zip(calls, answers, strict=True)]
        return _block_from(answer, hexed(block_hash)), decoded

    def _license_calls(self, license_id: int) -> tuple[ViewCall, ...]:
        registry, escrow, splitter = self._views.registry, self._views.escrow, self._views.splitter
        return (
            registry.license(license_id),
            registry.pricing(license_id),
            escrow.account(license_id),
            escrow.chargeable(license_id),
            splitter.income(license_id),
        )

    def _block(self, method: str, which: str) -> Block:
        return _block_from(self._rpc.request(method, which, False), which)


def _block_from(answer: Any, which: str) -> Block:
    if not isinstance(answer, dict):
        raise Transient(f"the endpoint does not know block {which}: it lags, or the chain was reorganized")
    try:
        return Block(
            number=quantity(answer["number"]),
            hash=data(answer["hash"], 32),
            parent_hash=data(answer["parentHash"], 32),
            timestamp_s=quantity(answer["timestamp"]),
        )
    except KeyError as error:
        raise Transient(f"the endpoint gave block {which} without its {error}") from error


def _license_from(
    license_id: int, terms: Any, pricing: Any, account: Any, chargeable: int, income: int
) -> LicenseState:
    price, cap, community_bps, steward_bps, platform_bps, operators_bps = pricing
    *_, kind, _suspended, _cooling_off_s, _notice_s, collection_hash, _document, _offer, roster_root = terms
    _available, _reserved, charged, cumulative_units, _deposited, _withdrawn = account
    contributors_bps = BPS - community_bps - steward_bps - platform_bps - operators_bps
    try:
        meter_kind = MeterKind(kind)
    except ValueError as error:
        raise InputRejected(
            f"license {license_id} has meter kind {kind}, which this version does not know"
        ) from error
    return LicenseState(
        license_id=license_id,
        meter_kind=meter_kind,
        price_per_million_units=price,
        max_charge_per_epoch=cap,
        split_bps=SplitBps(contributors_bps, community_bps, steward_bps, platform_bps, operators_bps),
        collection_hash=collection_hash,
        roster_root=roster_root,
        available=chargeable,
        charged=charged,
        cumulative_units=cumulative_units,
        income=income,
    )


def _lane_from(number: int, fields: Any, anchor: Any, revoked_at_s: int) -> LaneState:
    address, license_id, valid_from_ms, valid_to_ms, unit_cap = fields
    lane = parse_address(address)
    _anchored_at, count, cumulative_units, receipts_root = anchor
    anchored = Checkpoint(lane, count, cumulative_units, receipts_root) if count else None
    return LaneState(number, lane, license_id, valid_from_ms, valid_to_ms, unit_cap, anchored, revoked_at_s)
