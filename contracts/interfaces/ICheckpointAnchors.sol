// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Checkpoint} from "../types/Receipt.sol";

/// @title Checkpoints posted on chain
/// @notice Where a gateway that no node answers puts its counts. A checkpoint anchored by a period's end binds the
/// report of that period: its lane counts at least as much. And it settles for good that the buyer hid nothing below
/// its count.
///
/// Safety: only what the lane key signed, for a lane that was never proven to cheat; per lane, counts rise and units
/// never fall. What anchorAt says of a moment that has passed never changes.
/// Liveness: one transaction from any sender, and no permission. A lane that signed past its unit cap cannot anchor.
interface ICheckpointAnchors {
    /// @param anchoredAt Block time in seconds; 0 if there is no such anchor.
    struct Anchor {
        uint48 anchoredAt;
        uint64 count;
        uint128 cumulativeUnits;
        bytes32 receiptsRoot;
    }

    event CheckpointAnchored(
        address indexed lane,
        uint64 count,
        uint128 cumulativeUnits,
        bytes32 receiptsRoot,
        uint256 anchoredAt,
        bytes laneSignature
    );

    error CheckpointAnchors_ZeroAddress(string what);
    error CheckpointAnchors_UnknownLane(address lane);
    error CheckpointAnchors_LaneRevoked(address lane, uint48 revokedAt);
    error CheckpointAnchors_CountNotHigher(address lane, uint64 count, uint64 anchored);
    error CheckpointAnchors_UnitsFell(address lane, uint128 cumulativeUnits, uint128 anchored);
    /// @notice More units than nodes would ever count for this lane.
    error CheckpointAnchors_OverUnitCap(address lane, uint128 cumulativeUnits, uint128 cap);

    /// @notice Anchor a checkpoint that the lane key signed (65 bytes r ‖ s ‖ v). Anyone may carry it.
    function anchor(Checkpoint calldata checkpoint, bytes calldata laneSignature) external;

    /// @notice The highest checkpoint of a lane anchored at or before a time in seconds; all zero if there is none.
    function anchorAt(address lane, uint256 timestamp) external view returns (Anchor memory);

    function settlement() external view returns (address);
    function registry() external view returns (address);
}
