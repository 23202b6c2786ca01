"""The three signed structs of a lane, with their EIP-712 struct hashes laid by hand."""

from dataclasses import dataclass
from typing import Final

from usufruct_protocol.eip712 import (
    CHECKPOINT_ACK_TYPE_HASH,
    CHECKPOINT_TYPE_HASH,
    DOMAIN_VERSION,
    SETTLEMENT_DOMAIN_NAME,
    USAGE_RECEIPT_TYPE_HASH,
    address_word,
    check_bytes,
    domain_separator,
    typed_digest,
    uint_word,
)
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import check_uint
from usufruct_protocol.receipts.faults import CheckpointSignatureWrong
from usufruct_protocol.signing import recover

MAX_RECEIPT_UNITS: Final = 2**48 - 1
MAX_CUMULATIVE_UNITS: Final = 2**96 - 1


@dataclass(frozen=True, slots=True)
class UsageReceipt:
    """One metered call. Field ranges are those of the Solidity struct.

    The narrower limits on units are rules of a lane, checked when a receipt is counted: a receipt that breaks
    them is still evidence that its lane key signed it.
    Raises: InputRejected for a field out of range.
    """

    lane: bytes
    seq: int
    units: int
    cumulative_units: int
    usage_root: bytes
    request_hash: bytes
    issued_at_ms: int

    def __post_init__(self) -> None:
        check_bytes(self.lane, 20, "lane")
        check_uint(self.seq, 64, "seq")
        check_uint(self.units, 64, "units")
        check_uint(self.cumulative_units, 128, "cumulativeUnits")
        check_bytes(self.usage_root, 32, "usageRoot")
        check_bytes(self.request_hash, 32, "requestHash")
        check_uint(self.issued_at_ms, 64, "issuedAtMs")

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash, which is also the receipt's leaf in its lane tree."""
        return keccak256(
            USAGE_RECEIPT_TYPE_HASH
            + address_word(self.lane, "lane")
            + uint_word(self.seq, 64, "seq")
            + uint_word(self.units, 64, "units")
            + uint_word(self.cumulative_units, 128, "cumulativeUnits")
            + self.usage_root
            + self.request_hash
            + uint_word(self.issued_at_ms, 64, "issuedAtMs")
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A lane's commitment to its first `count` receipts. Raises: InputRejected for a field out of range."""

    lane: bytes
    count: int
    cumulative_units: int
    receipts_root: bytes

    def __post_init__(self) -> None:
        check_bytes(self.lane, 20, "lane")
        check_uint(self.count, 64, "count")
        check_uint(self.cumulative_units, 128, "cumulativeUnits")
        check_bytes(self.receipts_root, 32, "receiptsRoot")

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash."""
        return keccak256(
            CHECKPOINT_TYPE_HASH
            + address_word(self.lane, "lane")
            + uint_word(self.count, 64, "count")
            + uint_word(self.cumulative_units, 128, "cumulativeUnits")
            + self.receipts_root
        )


@dataclass(frozen=True, slots=True)
class CheckpointAck:
    """A node's word that it durably holds a checkpoint since `received_at` (seconds of chain time).

    Raises: InputRejected for a field out of range.
    """

    checkpoint_hash: bytes
    received_at: int

    def __post_init__(self) -> None:
        check_bytes(self.checkpoint_hash, 32, "checkpointHash")
        check_uint(self.received_at, 64, "receivedAt")

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash."""
        return keccak256(
            CHECKPOINT_ACK_TYPE_HASH + self.checkpoint_hash + uint_word(self.received_at, 64, "receivedAt")
        )


def settlement_domain(chain_id: int, contract: bytes) -> bytes:
    """Return the domain separator under which receipts, checkpoints and reports are signed."""
    return domain_separator(SETTLEMENT_DOMAIN_NAME, DOMAIN_VERSION, chain_id, contract)


def verify_receipt_signature(receipt: UsageReceipt, signature: bytes, domain: bytes) -> None:
    """Check that the lane signed the receipt for this domain. Raises: InputRejected naming lane and seq."""
    where = f"receipt of lane 0x{receipt.lane.hex()} seq {receipt.seq}"
    try:
        signer = recover(typed_digest(domain, receipt.struct_hash()), signature)
    except InputRejected as error:
        raise InputRejected(f"{where}: {error}") from error
    if signer != receipt.lane:
        raise InputRejected(
            f"{where} is signed by 0x{signer.hex()}",
            hint="changed after signing, or signed for another chain or contract",
        )


def verify_checkpoint_signature(checkpoint: Checkpoint, signature: bytes, domain: bytes) -> None:
    """Check that the lane signed the checkpoint for this domain. Raises: CheckpointSignatureWrong."""
    lane, count = checkpoint.lane, checkpoint.count
    try:
        signer = recover(typed_digest(domain, checkpoint.struct_hash()), signature)
    except InputRejected as error:
        raise CheckpointSignatureWrong(str(error), lane=lane, seq=count) from error
    if signer != lane:
        raise CheckpointSignatureWrong(
            f"checkpoint is signed by 0x{signer.hex()}",
            lane=lane,
            seq=count,
            hint="changed after signing, or signed for another chain or contract",
        )
