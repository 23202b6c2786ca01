// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice One metered call, signed by the lane key (EIP-712, UsageSettlement domain).
/// @param seq Number of the receipt in its lane, from 0 without gaps.
/// @param cumulativeUnits Units of this and all earlier receipts of the lane.
/// @param issuedAtMs End of the response, in milliseconds, never falling within a lane.
struct UsageReceipt {
    address lane;
    uint64 seq;
    uint64 units;
    uint128 cumulativeUnits;
    bytes32 usageRoot;
    bytes32 requestHash;
    uint64 issuedAtMs;
}

/// @notice What a lane key says of its first `count` receipts (EIP-712, UsageSettlement domain).
struct Checkpoint {
    address lane;
    uint64 count;
    uint128 cumulativeUnits;
    bytes32 receiptsRoot;
}

/// @notice What a node says of a checkpoint that it holds whole and durably (EIP-712, UsageSettlement domain).
/// @param checkpointHash Struct hash of the checkpoint.
/// @param receivedAt In seconds, after the period end of every report that the node had signed by then, and after the
/// last receipt of the checkpoint: so a report of a period that ends no earlier counts at least as much.
struct CheckpointAck {
    bytes32 checkpointHash;
    uint64 receivedAt;
}

/// @notice A receipt with its lane's signature, 65 bytes r ‖ s ‖ v.
struct SignedReceipt {
    UsageReceipt receipt;
    bytes signature;
}

/// @notice A checkpoint with its lane's signature, 65 bytes r ‖ s ‖ v.
struct SignedCheckpoint {
    Checkpoint checkpoint;
    bytes signature;
}

/// @notice A node's acknowledgement with its signature, 65 bytes r ‖ s ‖ v.
struct SignedAck {
    uint64 receivedAt;
    bytes signature;
}

/// @notice What a report says of one lane: the opening of its leaf under the report's lanesRoot.
/// @param checkpoint All zero where the leaf is zero: nothing of the lane was counted.
/// @param proof Siblings from the leaf up. Not read for a lane beyond the report's laneCount.
struct LaneHead {
    Checkpoint checkpoint;
    bytes32[] proof;
}

/// @notice Two checkpoints of one lane whose trees part: different leaves at one seq below both counts. It needs no
/// signature of a single receipt, which nodes do not hold.
/// @param firstProof Siblings from the leaf up, under the first checkpoint; secondProof likewise.
struct LaneFork {
    SignedCheckpoint first;
    SignedCheckpoint second;
    uint64 seq;
    bytes32 firstLeaf;
    bytes32[] firstProof;
    bytes32 secondLeaf;
    bytes32[] secondProof;
}

/// @notice What a lane signed and no one sequence of receipts bears out: two receipts (the earlier one first), or a
/// receipt and a checkpoint, or two checkpoints, or one fork; and nothing else beside it.
struct Contradiction {
    SignedReceipt[] receipts;
    SignedCheckpoint[] checkpoints;
    LaneFork[] forks;
}
