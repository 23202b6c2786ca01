"""Usage receipts, checkpoints and lanes: what a gateway signs and what a node checks.

A lane is one gateway key bound to one license. It signs a receipt per call, numbered from 0 without gaps, and
a checkpoint per batch that commits to all receipts so far, so that a node checks one signature per batch and
one hash per receipt.
"""

from usufruct_protocol.receipts.batch import verify_batch
from usufruct_protocol.receipts.encoding import (
    RECORD_SIZE,
    SIGNED_RECEIPT_TEXT_SIZE,
    decode_signed_receipt,
    encode_signed_receipt,
    pack_receipt,
    receipt_hashes,
    unpack_receipt,
)
from usufruct_protocol.receipts.evidence import CheckpointConflict, Equivocation, find_gaps
from usufruct_protocol.receipts.faults import (
    CheckpointCountWrong,
    CheckpointRootWrong,
    CheckpointSignatureWrong,
    CheckpointUnitsWrong,
    CumulativeUnitsWrong,
    LaneFault,
    ReceiptGap,
    ReceiptTimeWentBack,
    ReceiptUnitsTooLarge,
)
from usufruct_protocol.receipts.lane_tree import (
    LaneFrontier,
    lane_inclusion_proof,
    lane_inclusion_proof_of,
    verify_lane_inclusion,
)
from usufruct_protocol.receipts.structs import (
    MAX_CUMULATIVE_UNITS,
    MAX_RECEIPT_UNITS,
    Checkpoint,
    CheckpointAck,
    UsageReceipt,
    settlement_domain,
    verify_checkpoint_signature,
    verify_receipt_signature,
)
from usufruct_protocol.receipts.usage_list import (
    UsageEntry,
    UsageList,
    derive_salt,
    merge_usage,
    pack_usage_list,
    unpack_usage_list,
    usage_root,
)

__all__ = [
    "MAX_CUMULATIVE_UNITS",
    "MAX_RECEIPT_UNITS",
    "RECORD_SIZE",
    "SIGNED_RECEIPT_TEXT_SIZE",
    "Checkpoint",
    "CheckpointAck",
    "CheckpointConflict",
    "CheckpointCountWrong",
    "CheckpointRootWrong",
    "CheckpointSignatureWrong",
    "CheckpointUnitsWrong",
    "CumulativeUnitsWrong",
    "Equivocation",
    "LaneFault",
    "LaneFrontier",
    "ReceiptGap",
    "ReceiptTimeWentBack",
    "ReceiptUnitsTooLarge",
    "UsageEntry",
    "UsageList",
    "UsageReceipt",
    "decode_signed_receipt",
    "derive_salt",
    "encode_signed_receipt",
    "find_gaps",
    "lane_inclusion_proof",
    "lane_inclusion_proof_of",
    "merge_usage",
    "pack_receipt",
    "pack_usage_list",
    "receipt_hashes",
    "settlement_domain",
    "unpack_receipt",
    "unpack_usage_list",
    "usage_root",
    "verify_batch",
    "verify_checkpoint_signature",
    "verify_lane_inclusion",
    "verify_receipt_signature",
]
