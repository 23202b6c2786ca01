"""Receipts handed out later: `/.well-known/usufruct/receipts/{lane}/{seq}`.

Who asks must show the salt of that receipt (`Usage-Receipt-Salt`, from the answer's headers): only the caller
has it. Without it anybody could read from a gateway's receipts how much its customers use. A wrong salt and a
receipt that does not exist look the same. Any worker answers for every lane in its folder.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from contextlib import ExitStack, closing
from hashlib import sha256
from hmac import compare_digest
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected

from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.spool_reader import SpoolReader, StoredReceipt
from usufruct_meter.streaming import END, piece_id

RECEIPTS_PATH: Final = "/.well-known/usufruct/receipts/"
_PATH: Final = re.compile(re.escape(RECEIPTS_PATH) + r"0x([0-9a-fA-F]{40})/(0|[1-9][0-9]{0,17})")
_UNKNOWN: Final = "no such receipt, or not the salt of it"
_MAX_PIECES: Final = 10_000


class NoSuchReceipt(InputRejected):
    """There is no such receipt, or the salt that was shown is not its own."""

    code = "no_such_receipt"


def receipts_at(location: Path, path: str, shown_salt: str) -> dict[str, Any]:
    """Return the receipt that a path names, and the later ones if it began a stream.

    Reads files; takes as long as the disk does. Raises: NoSuchReceipt.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise NoSuchReceipt(f"expected {RECEIPTS_PATH}0x<lane>/<seq>")
    lane, seq = bytes.fromhex(found[1]), int(found[2])
    try:
        with ExitStack() as stack:
            spools = {file.lane: file.spool for file in map(LaneFile.load, lane_files(location))}
            if lane not in spools:
                raise NoSuchReceipt(_UNKNOWN)
            own = _opened(stack, spools.pop(lane))
            first = own.receipt(seq)
            if first is None or not _is_salt(first, shown_salt):
                raise NoSuchReceipt(_UNKNOWN)
            later = _pieces([own, *(_opened(stack, spool) for spool in spools.values())], first)
    except (ConfigInvalid, sqlite3.Error) as error:
        raise NoSuchReceipt(_UNKNOWN) from error
    return {
        "lane": f"0x{lane.hex()}",
        "seq": seq,
        "has_end": any(name == END for name, _ in later),
        "receipts": [_shown("first", first), *(_shown(name, stored) for name, stored in later)],
    }


def _opened(stack: ExitStack, spool: Path) -> SpoolReader:
    return stack.enter_context(closing(SpoolReader.open(spool)))


def _is_salt(stored: StoredReceipt, shown: str) -> bool:
    return compare_digest(stored.request_salt.hex().encode(), shown.lower().removeprefix("0x").encode())


def _pieces(readers: Collection[SpoolReader], first: StoredReceipt) -> list[tuple[str, StoredReceipt]]:
    """Return what was signed for the rest of a stream: found by ids that follow from the first one's.

    A retry may have come to another worker, so all lanes are asked.
    """
    if first.response_hash is None:
        return []
    opening_hash = first.response_hash

    def piece(name: int | str) -> StoredReceipt | None:
        piece_hash = sha256(piece_id(opening_hash, name).encode("ascii")).digest()
        return next(filter(None, (reader.receipt_of_response(piece_hash) for reader in readers)), None)

    numbered = takewhile(lambda one: one[1] is not None, ((str(n), piece(n)) for n in range(1, _MAX_PIECES)))
    return [(name, stored) for name, stored in (*numbered, (END, piece(END))) if stored is not None]


def _shown(name: str, stored: StoredReceipt) -> dict[str, Any]:
    signed = stored.signed(is_repeat=False)
    return {
        "part": name,
        "lane": f"0x{stored.receipt.lane.hex()}",
        "seq": stored.receipt.seq,
        "units": stored.receipt.units,
        "receipt": signed.text,
        "salt": signed.request_salt.hex(),
    }
