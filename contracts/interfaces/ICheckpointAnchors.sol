// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Checkpoint} from "../types/Receipt.sol";

/// @title Checkpoints posted on chain
/// @notice Where a gateway that no node answers puts its counts. A checkpoint anchored by a period's end binds the
/// report of that period: its lane counts at least as much.
interface ICheckpointAnchors {
    struct Anchor {
        uint48 anchoredAt;
        uint64 count;
        uint128 cumulativeUnits;
        bytes32 receiptsRoot;
    }

    event CheckpointAnchored(
        address indexed lane, uint64 count, uint128 cumulativeUnits, bytes32 receiptsRoot, uint256 anchoredAt
    );

    /// @notice Anchor a checkpoint that the lane key signed (65 bytes r ‖ s ‖ v). Anyone may carry it.
    function anchor(Checkpoint calldata checkpoint, bytes calldata laneSignature) external;

    /// @notice The highest checkpoint of a lane anchored at or before a time in seconds; all zero if there is none.
    function anchorAt(address lane, uint256 timestamp) external view returns (Anchor memory);
}
