"""Canonical bytes of receipts: the 104-byte record, its struct hash in bulk, and the header text.

Record, big endian: seq u64 ‖ units u64 ‖ cumulativeUnits u128 ‖ usageRoot ‖ requestHash ‖ issuedAtMs u64.
The lane is not in the record: a batch names it once.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from itertools import starmap
from struct import Struct
from typing import Final

from usufruct_protocol.eip712 import USAGE_RECEIPT_TYPE_HASH, address_word, check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts.structs import UsageReceipt

RECORD_SIZE: Final = 104

_RECORD: Final = Struct(">QQ16s32s32sQ")
# A record's fields as bytes (the middle 80 are three whole words but for the 16 zeros before them), and where
# they lie in the 256-byte preimage of the struct hash: type hash, lane and the padding of seq, which are the
# same for the whole lane, then each field at the end of its word.
_FIELDS: Final = Struct("8s8s80s8s")
_PREIMAGE: Final = Struct("88s 8s 24x8s 16x80s 24x8s")

_SIGNED_SIZE: Final = 20 + RECORD_SIZE + 65
SIGNED_RECEIPT_TEXT_SIZE: Final = _SIGNED_SIZE // 3 * 4  # 189 bytes divide by 3, so there is no padding
_SIGNED_TEXT: Final = re.compile(rf"[A-Za-z0-9_-]{{{SIGNED_RECEIPT_TEXT_SIZE}}}")


def pack_receipt(receipt: UsageReceipt) -> bytes:
    """Return the 104-byte record of a receipt."""
    return _RECORD.pack(
        receipt.seq,
        receipt.units,
        receipt.cumulative_units.to_bytes(16, "big"),
        receipt.usage_root,
        receipt.request_hash,
        receipt.issued_at_ms,
    )


def unpack_receipt(lane: bytes, record: bytes) -> UsageReceipt:
    """Return the receipt of a lane from its 104-byte record. Raises: InputRejected for any other length."""
    check_bytes(record, RECORD_SIZE, "receipt record")
    seq, units, cumulative_units, usage_root, request_hash, issued_at_ms = _RECORD.unpack(record)
    return UsageReceipt(
        lane,
        seq,
        units,
        int.from_bytes(cumulative_units, "big"),
        usage_root,
        request_hash,
        issued_at_ms,
    )


def receipt_hashes(lane: bytes, records: bytes) -> list[bytes]:
    """Return the struct hash of every record in a blob of 104-byte records of one lane.

    Equal to `UsageReceipt.struct_hash`, but laid out from the record bytes in one C loop, so that it takes
    little longer than the hash itself.
    Raises: InputRejected if the blob is not whole records.
    """
    record_count(lane, records)
    lane_part = USAGE_RECEIPT_TYPE_HASH + address_word(lane, "lane") + bytes(24)
    preimages = starmap(partial(_PREIMAGE.pack, lane_part), _FIELDS.iter_unpack(records))
    return list(map(keccak256, preimages))


def record_count(lane: bytes, records: bytes) -> int:
    """Return how many records a blob holds. Raises: InputRejected if the last one is cut off."""
    count, rest = divmod(len(records), RECORD_SIZE)
    if rest:
        raise InputRejected(
            f"lane 0x{lane.hex()}: {len(records)} bytes are not whole receipt records",
            hint=f"a record is {RECORD_SIZE} bytes; {rest} are left over after {count}",
        )
    return count


def encode_signed_receipt(receipt: UsageReceipt, signature: bytes) -> str:
    """Return the text of the `Usage-Receipt` header: base64url of lane ‖ record ‖ signature, no padding.

    Raises: InputRejected if the signature is not 65 bytes.
    """
    check_bytes(signature, 65, "signature")
    return urlsafe_b64encode(receipt.lane + pack_receipt(receipt) + signature).decode("ascii")


def decode_signed_receipt(text: str) -> tuple[UsageReceipt, bytes]:
    """Return the receipt and its signature from the text of a `Usage-Receipt` header.

    The form is checked, not the signature: see `verify_receipt_signature`.
    Raises: InputRejected for a text of any other length or alphabet.
    """
    if not isinstance(text, str) or not _SIGNED_TEXT.fullmatch(text):
        raise InputRejected(
            "signed receipt is malformed",
            hint=f"expected {SIGNED_RECEIPT_TEXT_SIZE} characters of base64url without padding",
        )
    data = urlsafe_b64decode(text)
    return unpack_receipt(data[:20], data[20 : 20 + RECORD_SIZE]), data[20 + RECORD_SIZE :]
