"""JSON of what nodes tell each other: signed checkpoints, frozen heads, lane vectors, votes, reports.

Bytes are 0x-hex, amounts and unit totals decimal strings, counts and numbers of things plain integers.
Reading is strict: a field that is missing, of another type or of another length is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, get_type_hints

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import check_uint
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport, ReportLine

from usufruct_oracle.signed_checkpoint import SignedCheckpoint

_AMOUNTS: Final = frozenset({"notes_total", "reserve_total", "cumulative_units", "charge"})


@dataclass(frozen=True, slots=True)
class FrozenHeads:
    """What a node had durably acknowledged when it froze an epoch, one head per lane that held anything.

    `conflicts` are lanes that signed two histories, as far as this node knows: lane → lowest conflicting seq.
    """

    epoch: int
    cutoff_block_hash: bytes
    heads: tuple[SignedCheckpoint, ...]
    conflicts: dict[bytes, int]


@dataclass(frozen=True, slots=True)
class Vector:
    """What a proposer wants counted: per lane number one gateway-signed checkpoint, or None for nothing yet.

    A head that is already finalized may come without its signature (empty): nobody has to check it again.
    `withheld` are licenses whose roster no reachable node has, although its root is on chain. `adopted` are
    numbers of lanes that count through the checkpoint their gateway anchored on chain, because no reachable
    node can count as much of them by receipts; that head comes without a signature too.
    """

    epoch: int
    attempt: int
    cutoff_block_hash: bytes
    heads: tuple[SignedCheckpoint | None, ...]
    withheld: tuple[int, ...] = ()
    adopted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Vote:
    """Which report one signer computed for an attempt; its signature once enough others hold the same.

    `possession` proves that it holds the bundle: `usufruct_protocol.bundle.possession_proof`.
    """

    signer_index: int
    report_hash: bytes
    bundle_hash: bytes
    signature: bytes | None
    possession: bytes


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Digest and size of one bundle file."""

    sha256: bytes
    size: int


def hexed(value: bytes) -> str:
    """Return bytes as 0x-hex."""
    return "0x" + value.hex()


def signed_checkpoint_json(signed: SignedCheckpoint) -> dict[str, Any]:
    """Return a signed checkpoint as a JSON object."""
    point = signed.checkpoint
    return {
        "lane": hexed(point.lane),
        "count": point.count,
        "cumulative_units": str(point.cumulative_units),
        "receipts_root": hexed(point.receipts_root),
        "signature": hexed(signed.signature) if signed.signature else None,
    }


def frozen_json(frozen: FrozenHeads) -> dict[str, Any]:
    """Return frozen heads as a JSON object."""
    return {
        "epoch": frozen.epoch,
        "cutoff_block_hash": hexed(frozen.cutoff_block_hash),
        "lanes": [signed_checkpoint_json(head) for head in frozen.heads],
        "conflicts": [{"lane": hexed(lane), "seq": seq} for lane, seq in sorted(frozen.conflicts.items())],
    }


def vector_json(vector: Vector) -> dict[str, Any]:
    """Return a lane vector as a JSON object."""
    return {
        "epoch": vector.epoch,
        "attempt": vector.attempt,
        "cutoff_block_hash": hexed(vector.cutoff_block_hash),
        "lanes": [None if head is None else signed_checkpoint_json(head) for head in vector.heads],
        "withheld": list(vector.withheld),
        "adopted": list(vector.adopted),
    }


def vote_json(vote: Vote) -> dict[str, Any]:
    """Return a vote as a JSON object."""
    return {
        "signer_index": vote.signer_index,
        "report_hash": hexed(vote.report_hash),
        "bundle_hash": hexed(vote.bundle_hash),
        "signature": None if vote.signature is None else hexed(vote.signature),
        "possession": hexed(vote.possession),
    }


def manifest_json(bundle_hash: bytes, entries: dict[str, FileEntry]) -> dict[str, Any]:
    """Return the list of a bundle's files as a JSON object."""
    return {
        "bundle_hash": hexed(bundle_hash),
        "files": {
            name: {"sha256": hexed(entry.sha256), "size": entry.size}
            for name, entry in sorted(entries.items())
        },
    }


def report_json(report: EpochReport) -> dict[str, Any]:
    """Return a report as a JSON object with the field names of `EpochReport`."""
    content: dict[str, Any] = {
        name: _plain(name, value) for name, value in asdict(report).items() if name != "lines"
    }
    content["lines"] = [
        {name: _plain(name, value) for name, value in asdict(line).items()} for line in report.lines
    ]
    return content


def parse_object(data: bytes | str, what: str) -> Fields:
    """Return the fields of a JSON object. Raises: InputRejected for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputRejected(f"{what} is not JSON: {error}") from error
    return Fields(value, what)


def frozen_from(content: Fields) -> FrozenHeads:
    """Read what `frozen_json` wrote; each lane at most once."""
    heads = tuple(_signed_checkpoint(item) for item in content.items("lanes"))
    if len({head.checkpoint.lane for head in heads}) != len(heads):
        raise InputRejected("frozen heads: a lane is named twice")
    conflicts = {item.data("lane", 20): item.uint("seq", 63) for item in content.items("conflicts")}
    return FrozenHeads(content.uint("epoch", 48), content.data("cutoff_block_hash", 32), heads, conflicts)


def vector_from(content: Fields) -> Vector:
    """Read what `vector_json` wrote."""
    heads = tuple(
        None if item is None else _signed_checkpoint(item) for item in content.optional_items("lanes")
    )
    withheld = tuple(check_uint(value, 32, "withheld license") for value in content.sequence("withheld"))
    epoch, attempt = content.uint("epoch", 48), content.uint("attempt", 32)
    adopted = tuple(check_uint(value, 32, "adopted lane") for value in content.sequence("adopted"))
    return Vector(epoch, attempt, content.data("cutoff_block_hash", 32), heads, withheld, adopted)


def vote_from(content: Fields) -> Vote:
    """Read what `vote_json` wrote."""
    signature = None if content.value("signature") is None else content.data("signature", 65)
    return Vote(
        content.uint("signer_index", 8),
        content.data("report_hash", 32),
        content.data("bundle_hash", 32),
        signature,
        content.data("possession", 32),
    )


def manifest_from(content: Fields) -> dict[str, FileEntry]:
    """Read the entries that `manifest_json` wrote; names must be plain ASCII of at most 64 characters."""
    files = Fields(content.value("files"), "bundle manifest")
    entries = {}
    for name in files.names():
        if not (name.isascii() and 0 < len(name) <= 64):
            raise InputRejected(f"bundle manifest: bad file name {name!r:.80}")
        entry = Fields(files.value(name), f"bundle manifest, {name}")
        entries[name] = FileEntry(entry.data("sha256", 32), entry.uint("size", 40))
    return entries


def report_from(content: Fields) -> EpochReport:
    """Read what `report_json` wrote."""
    types = get_type_hints(EpochReport)
    values: dict[str, Any] = {
        name: _value_of(content, name, kind) for name, kind in types.items() if name != "lines"
    }
    lines = tuple(
        ReportLine(item.uint("license_id", 32), item.amount("cumulative_units"), item.amount("charge"))
        for item in content.items("lines")
    )
    return EpochReport(**values, lines=lines)


class Fields:
    """Strict access to the fields of a JSON object from outside."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise InputRejected(f"{what}: expected a JSON object, got {type(value).__name__}")
        self._value = value
        self._what = what

    def names(self) -> Sequence[str]:
        """Return the names of all fields."""
        return list(self._value)

    def value(self, name: str) -> Any:
        """Return a field of any type."""
        if name not in self._value:
            raise InputRejected(f"{self._what}: {name} is missing")
        return self._value[name]

    def uint(self, name: str, bits: int) -> int:
        """Return a whole number below 2**bits."""
        return check_uint(self.value(name), bits, f"{self._what}: {name}")

    def amount(self, name: str) -> int:
        """Return a uint128 written as a decimal string."""
        text = self.value(name)
        if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 39):
            raise InputRejected(f"{self._what}: {name} must be a decimal string, got {text!r:.60}")
        return check_uint(int(text), 128, f"{self._what}: {name}")

    def data(self, name: str, length: int) -> bytes:
        """Return bytes of a fixed length."""
        text = self.value(name)
        if isinstance(text, str) and text.startswith("0x") and len(text) == 2 + 2 * length:
            try:
                return bytes.fromhex(text[2:])
            except ValueError:
                pass
        raise InputRejected(f"{self._what}: {name} must be 0x and {2 * length} hex digits, got {text!r:.80}")

    def sequence(self, name: str) -> Sequence[Any]:
        """Return a JSON array."""
        value = self.value(name)
        if not isinstance(value, list):
            raise InputRejected(f"{self._what}: {name} must be an array")
        return value

    def items(self, name: str) -> list[Fields]:
        """Return an array of objects."""
        return [
            Fields(item, f"{self._what}, {name} {index}") for index, item in enumerate(self.sequence(name))
        ]

    def optional_items(self, name: str) -> list[Fields | None]:
        """Return an array of objects and nulls."""
        return [
            None if item is None else Fields(item, f"{self._what}, {name} {index}")
            for index, item in enumerate(self.sequence(name))
        ]


def _signed_checkpoint(item: Fields) -> SignedCheckpoint:
    point = Checkpoint(
        item.data("lane", 20),
        item.uint("count", 63),
        item.amount("cumulative_units"),
        item.data("receipts_root", 32),
    )
    return SignedCheckpoint(point, b"" if item.value("signature") is None else item.data("signature", 65))


def _plain(name: str, value: bytes | int) -> str | int:
    if isinstance(value, bytes):
        return hexed(value)
    return str(value) if name in _AMOUNTS else value


def _value_of(content: Fields, name: str, annotation: Any) -> bytes | int:
    if name in _AMOUNTS:
        return content.amount(name)
    readers: dict[type, Callable[[], bytes | int]] = {
        bytes: lambda: content.data(name, 32),
        int: lambda: content.uint(name, 64),
    }
    return readers[annotation]()
