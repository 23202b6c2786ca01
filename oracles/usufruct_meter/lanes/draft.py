"""From calls to signed receipts: the rules of a lane, without any file.

A draft starts from what is durable, signs receipts and checkpoints, and is thrown away if they cannot be
written. Nothing that it signed may leave the process before its spool has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import Conflict, InputRejected
from usufruct_protocol.money import check_uint
from usufruct_protocol.receipts import (
    MAX_RECEIPT_UNITS,
    Checkpoint,
    LaneFrontier,
    UsageReceipt,
    pack_usage_list,
    usage_root,
)

from usufruct_meter.clock.watch import Moment
from usufruct_meter.errors import OutsideValidity, UnitCapReached
from usufruct_meter.lanes.checkpoints import OpenSpan, Periods
from usufruct_meter.lanes.lane_key import LaneKey
from usufruct_meter.lanes.spool import SignedCheckpoint
from usufruct_meter.lanes.spool_reader import StoredReceipt
from usufruct_meter.signed_receipt import MeteredCall, request_hash

MAX_USAGE_ENTRIES: Final = 65_536
NO_USAGE_ROOT: Final = bytes(32)
_REQUEST_PURPOSE: Final = b"request"
_USAGE_PURPOSE: Final = b"usage"
_MAX_TIME_MS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What a lane may sign: its key, the domain, [from, to), the cap, and the periods."""

    key: LaneKey
    domain: bytes
    valid_from_ms: int
    valid_to_ms: int
    max_cumulative_units: int
    periods: Periods

    def check_time(self, at_ms: int) -> None:
        """Raises: OutsideValidity."""
        if at_ms < self.valid_from_ms:
            raise OutsideValidity(
                f"lane is valid from {self.valid_from_ms} ms on, and it is {at_ms} ms",
                hint="wait, or check this machine's clock",
            )
        if at_ms >= self.valid_to_ms:
            raise OutsideValidity(
                f"lane was valid until {self.valid_to_ms} ms, and it is {at_ms} ms",
                hint="start a new lane: usufruct-meter lane new",
            )

    def check_cap(self, cumulative_units: int) -> None:
        """Raises: UnitCapReached."""
        if cumulative_units > self.max_cumulative_units:
            raise UnitCapReached(
                f"the call would take the lane to {cumulative_units} units; its cap is "
                f"{self.max_cumulative_units}",
                hint="start a new lane with a higher cap: usufruct-meter lane new",
            )


def check_call(call: MeteredCall) -> None:
    """Check what does not depend on the lane's state. Raises: InputRejected naming the field."""
    if check_uint(call.units, 64, "units") > MAX_RECEIPT_UNITS:
        raise InputRejected(f"units {call.units} >= 2^48", hint="no single call uses that much")
    if call.at_ms is not None and check_uint(call.at_ms, 64, "at_ms") > _MAX_TIME_MS:
        raise InputRejected(f"at_ms {call.at_ms} is no time", hint="milliseconds since 1970, in UTC")
    if len(call.usage) > MAX_USAGE_ENTRIES:
        raise InputRejected(
            f"a call used {len(call.usage)} records; at most {MAX_USAGE_ENTRIES} fit a receipt"
        )
    if call.request_sha256 is not None and len(call.request_sha256) != 32:
        raise InputRejected("request_sha256 must be 32 bytes")


@dataclass(slots=True)
class Draft:
    """Receipts and checkpoints that continue a lane and are not durable yet."""

    terms: LaneTerms
    frontier: LaneFrontier
    span: OpenSpan
    receipts: list[StoredReceipt] = field(default_factory=list)
    checkpoints: list[SignedCheckpoint] = field(default_factory=list)

    def add(self, call: MeteredCall, moment: Moment) -> StoredReceipt:
        """Sign the receipt of a call, after a checkpoint if this receipt begins another period or span.

        Time is max(previous, now): a lane's time never goes back.
        Raises: OutsideValidity, UnitCapReached, InputRejected, ClockAhead, LaneAhead; the draft is then
        unchanged.
        """
        issued_at_ms = moment.date(self.frontier.last_issued_at_ms, call.at_ms)
        cumulative_units = self.frontier.cumulative_units + call.units
        self.terms.check_time(issued_at_ms)
        self.terms.check_cap(cumulative_units)
        seq, key = self.frontier.count, self.terms.key
        root, opening = self._commit_usage(call, seq)
        if self._needs_checkpoint(issued_at_ms, len(opening)):
            self.checkpoint()
        salt = key.salt(_REQUEST_PURPOSE, seq)
        digest = call.request_sha256 or sha256(call.request).digest()
        receipt = UsageReceipt(
            key.address, seq, call.units, cumulative_units, root, request_hash(salt, digest), issued_at_ms
        )
        leaf = receipt.struct_hash()
        signature = key.sign(typed_digest(self.terms.domain, leaf))
        stored = StoredReceipt(receipt, signature, salt, call.response_hash(), opening)
        self.frontier.extend([leaf])
        self.frontier.cumulative_units = cumulative_units
        self.frontier.last_issued_at_ms = issued_at_ms
        self.span.add(len(opening))
        self.receipts.append(stored)
        return stored

    def add_void(self, seq: int, moment: Moment) -> StoredReceipt:
        """Sign a receipt over no units for a seq that was taken and never got one.

        Raises: Conflict if the seq has a receipt, which is final; InputRejected if it would leave a gap;
        else as `add`.
        """
        if seq < self.frontier.count:
            raise Conflict(f"seq {seq} has a receipt, and a receipt is final")
        if seq > self.frontier.count:
            raise InputRejected(
                f"seq {seq} would leave a gap: the next one is {self.frontier.count}",
                hint="void the missing ones first, in order",
            )
        return self.add(MeteredCall(0), moment)

    def checkpoint(self) -> SignedCheckpoint | None:
        """Sign a checkpoint over all receipts so far, unless the last one already covers them."""
        if not self.span.receipts:
            return None
        frontier, key = self.frontier, self.terms.key
        point = Checkpoint(key.address, frontier.count, frontier.cumulative_units, frontier.root())
        signature = key.sign(typed_digest(self.terms.domain, point.struct_hash()))
        epoch = self.terms.periods.epoch_of(frontier.last_issued_at_ms)
        signed = SignedCheckpoint(point, signature, epoch, frontier.to_bytes())
        self.checkpoints.append(signed)
        self.span = OpenSpan()
        return signed

    def _needs_checkpoint(self, issued_at_ms: int, opening_bytes: int) -> bool:
        if not self.span.receipts:
            return False
        epoch_of = self.terms.periods.epoch_of
        is_new_period = epoch_of(issued_at_ms) != epoch_of(self.frontier.last_issued_at_ms)
        return is_new_period or self.span.is_full_for(opening_bytes)

    def _commit_usage(self, call: MeteredCall, seq: int) -> tuple[bytes, bytes]:
        """Return the usage root of a call and what opens it."""
        if not call.usage:
            return NO_USAGE_ROOT, b""
        salt = self.terms.key.salt(_USAGE_PURPOSE, seq)
        return usage_root(call.usage, salt), pack_usage_list(call.usage, salt)
