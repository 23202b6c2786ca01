"""Canonical bytes of receipts: the 104-byte record, its struct hash in bulk, and the header text.

Record, big endian: seq u64 ‖ units u64 ‖ cumulativeUnits u128 ‖ usageRoot ‖ requestHash ‖ issuedAtMs u64.
The lane is not in the record: a batch names it once.
"""

import re
from array import array
from base64 import urlsafe_b64decode, urlsafe_b64encode
from struct import Struct, pack, unpack
from typing import Final

from usufruct_protocol.eip712 import USAGE_RECEIPT_TYPE_HASH, address_word, check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts.structs import UsageReceipt

RECORD_SIZE: Final = 104

_IS_LITTLE_ENDIAN: Final = pack("=H", 1) == pack("<H", 1)
_RECORD: Final = Struct(">QQ16s32s32sQ")
# A record is 13 limbs of 64 bits. The preimage of its struct hash is 32, a word of four each for type hash,
# lane, seq, units, cumulative units, usage root, request hash and time. The targets say where each limb goes.
_RECORD_LIMBS: Final = 13
_PREIMAGE_LIMBS: Final = 32
_TARGETS: Final = (11, 15, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 31)
_PIECE: Final = 512  # records laid out at once: few enough to stay in the processor's cache

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

    Equal to `UsageReceipt.struct_hash`, but the preimages are laid out limb by limb for many records at a
    time, with strided copies, so that it takes little longer than the hash itself.
    Raises: InputRejected if the blob is not whole records.
    """
    record_count(lane, records)
    template = USAGE_RECEIPT_TYPE_HASH + address_word(lane, "lane") + bytes(192)
    hashes: list[bytes] = []
    for at in range(0, len(records), RECORD_SIZE * _PIECE):
        piece = records[at : at + RECORD_SIZE * _PIECE]
        count = len(piece) // RECORD_SIZE
        preimages = bytearray(template * count)
        source = memoryview(piece).cast("Q")
        with memoryview(preimages) as view, view.cast("Q") as target:
            for limb, position in enumerate(_TARGETS):
                target[position::_PREIMAGE_LIMBS] = source[limb::_RECORD_LIMBS]
        hashes += map(keccak256, unpack("256s" * count, preimages))
    return hashes


def record_columns(records: bytes) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return the seqs, units, cumulative units and times of a blob of whole records, read in bulk."""
    limbs = array("Q", records)
    if _IS_LITTLE_ENDIAN:
        limbs.byteswap()
    seqs, units, high, low = (limbs[limb::_RECORD_LIMBS].tolist() for limb in range(4))
    cumulative = [hi << 64 | lo for hi, lo in zip(high, low, strict=True)] if any(high) else low
    return seqs, units, cumulative, limbs[_RECORD_LIMBS - 1 :: _RECORD_LIMBS].tolist()


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
