// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICheckpointAnchors} from "./interfaces/ICheckpointAnchors.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {LaneEvidence} from "./libraries/LaneEvidence.sol";
import {Checkpoint} from "./types/Receipt.sol";

/// @title CheckpointAnchors
/// @notice Knows no role, no money and no way to change or remove an anchor. Rules and guarantees:
/// {ICheckpointAnchors}.
contract CheckpointAnchors is ICheckpointAnchors {
    /// @inheritdoc ICheckpointAnchors
    address public immutable settlement;
    /// @inheritdoc ICheckpointAnchors
    address public immutable registry;

    /// @dev Ascending in time, in count, and in units.
    mapping(address lane => Anchor[]) private _anchors;

    constructor(address settlement_, address registry_) {
        if (settlement_ == address(0)) revert CheckpointAnchors_ZeroAddress("settlement");
        if (registry_ == address(0)) revert CheckpointAnchors_ZeroAddress("registry");
        settlement = settlement_;
        registry = registry_;
    }

    /// @inheritdoc ICheckpointAnchors
    function anchor(Checkpoint calldata checkpoint, bytes calldata laneSignature) external {
        _requireCountable(checkpoint);
        LaneEvidence.requireSigned(IUsageSettlement(settlement).domainSeparator(), checkpoint, laneSignature);

        Anchor[] storage anchors = _anchors[checkpoint.lane];
        Anchor memory last;
        if (anchors.length != 0) last = anchors[anchors.length - 1];
        if (checkpoint.count <= last.count) {
            revert CheckpointAnchors_CountNotHigher(checkpoint.lane, checkpoint.count, last.count);
        }
        if (checkpoint.cumulativeUnits < last.cumulativeUnits) {
            revert CheckpointAnchors_UnitsFell(checkpoint.lane, checkpoint.cumulativeUnits, last.cumulativeUnits);
        }
        anchors.push(
            Anchor({
                anchoredAt: uint48(block.timestamp),
                count: checkpoint.count,
                cumulativeUnits: checkpoint.cumulativeUnits,
                receiptsRoot: checkpoint.receiptsRoot
            })
        );
        emit CheckpointAnchored(
            checkpoint.lane,
            checkpoint.count,
            checkpoint.cumulativeUnits,
            checkpoint.receiptsRoot,
            block.timestamp,
            laneSignature
        );
    }

    /// @inheritdoc ICheckpointAnchors
    function anchorAt(address lane, uint256 timestamp) external view returns (Anchor memory found) {
        Anchor[] storage anchors = _anchors[lane];
        // All before `low` were anchored by then, none from `high` on.
        uint256 low;
        uint256 high = anchors.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (anchors[middle].anchoredAt <= timestamp) low = middle + 1;
            else high = middle;
        }
        if (low != 0) found = anchors[low - 1];
    }

    /// @dev That nodes could count it: an anchor binds them. Lanes with units below 2**96 each have a sum that a
    /// report line can carry.
    function _requireCountable(Checkpoint calldata checkpoint) private view {
        address lane = checkpoint.lane;
        (bool registered, uint32 laneNumber) = ILicenseRegistry(registry).laneNumberOf(lane);
        if (!registered) revert CheckpointAnchors_UnknownLane(lane);
        uint48 revokedAt = ILicenseRegistry(registry).laneRevokedAt(laneNumber);
        if (revokedAt != 0) revert CheckpointAnchors_LaneRevoked(lane, revokedAt);
        uint128 cap = ILicenseRegistry(registry).laneAt(laneNumber).unitCap;
        if (cap > type(uint96).max) cap = type(uint96).max;
        if (checkpoint.cumulativeUnits > cap) {
            revert CheckpointAnchors_OverUnitCap(lane, checkpoint.cumulativeUnits, cap);
        }
    }
}
