// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IConsentLog} from "./interfaces/IConsentLog.sol";

/// @title ConsentLog
/// @notice No owner, no role, no money. Rules and guarantees: {IConsentLog}.
contract ConsentLog is IConsentLog {
    bytes1 private constant ENTRY_TAG = 0x07;
    uint8 private constant BATCH = 1;
    uint8 private constant REVOCATION = 2;

    /// @dev What the accumulator was when its last block ended; one mark per block with entries, ascending.
    struct Mark {
        bytes32 accumulator;
        uint48 blockNumber;
    }

    /// @inheritdoc IConsentLog
    uint64 public batchCount;
    Mark[] private _marks;
    mapping(uint64 batchId => Batch) private _batches;
    /// @inheritdoc IConsentLog
    mapping(bytes32 revokeTag => uint48) public revokedAt;

    /// @inheritdoc IConsentLog
    function publish(bytes32 root, uint32 count) external returns (uint64 batchId) {
        if (root == 0 || count == 0) revert ConsentLog_EmptyBatch(root, count);
        batchId = ++batchCount;
        _batches[batchId] =
            Batch({root: root, publisher: msg.sender, count: count, publishedAt: uint48(block.timestamp)});
        bytes32 accumulated = _enter(BATCH, keccak256(abi.encodePacked(root, count, msg.sender)));
        emit BatchPublished(batchId, msg.sender, root, count, accumulated);
    }

    /// @inheritdoc IConsentLog
    function forceRevoke(bytes32 secret) external returns (bytes32 revokeTag) {
        revokeTag = keccak256(abi.encodePacked(secret));
        if (revokedAt[revokeTag] != 0) return revokeTag;
        revokedAt[revokeTag] = uint48(block.timestamp);
        bytes32 accumulated = _enter(REVOCATION, revokeTag);
        emit ConsentRevoked(revokeTag, accumulated);
    }

    /// @inheritdoc IConsentLog
    function accumulator() public view returns (bytes32) {
        uint256 count = _marks.length;
        return count == 0 ? bytes32(0) : _marks[count - 1].accumulator;
    }

    /// @inheritdoc IConsentLog
    function accumulatorAt(uint256 blockNumber) external view returns (bytes32) {
        if (blockNumber > block.number) revert ConsentLog_FutureBlock(blockNumber, block.number);
        // The first mark after the block; what stood before it stood at the block's end.
        uint256 low;
        uint256 high = _marks.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_marks[middle].blockNumber > blockNumber) high = middle;
            else low = middle + 1;
        }
        return high == 0 ? bytes32(0) : _marks[high - 1].accumulator;
    }

    /// @inheritdoc IConsentLog
    function batch(uint64 batchId) external view returns (Batch memory) {
        if (batchId == 0 || batchId > batchCount) revert ConsentLog_UnknownBatch(batchId);
        return _batches[batchId];
    }

    function _enter(uint8 kind, bytes32 content) private returns (bytes32 accumulated) {
        accumulated = keccak256(abi.encodePacked(ENTRY_TAG, accumulator(), kind, content, uint64(block.timestamp)));
        uint256 count = _marks.length;
        if (count != 0 && _marks[count - 1].blockNumber == block.number) {
            _marks[count - 1].accumulator = accumulated;
        } else {
            _marks.push(Mark({accumulator: accumulated, blockNumber: uint48(block.number)}));
        }
    }
}
