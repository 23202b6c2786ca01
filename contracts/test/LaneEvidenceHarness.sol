// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {LaneEvidence} from "../libraries/LaneEvidence.sol";
import {LaneTree} from "../libraries/LaneTree.sol";
import {ReceiptHash} from "../libraries/ReceiptHash.sol";
import {
    Checkpoint,
    CheckpointAck,
    Contradiction,
    LaneFork,
    LaneHead,
    SignedCheckpoint,
    SignedReceipt,
    UsageReceipt
} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";

/// @title ReceiptHash, LaneTree and LaneEvidence with a door, so that tests can compare them with Python. Test only.
contract LaneEvidenceHarness {
    using ReceiptHash for *;

    function hashReceipt(UsageReceipt calldata receipt) external pure returns (bytes32) {
        return receipt.hash();
    }

    function hashCheckpoint(Checkpoint calldata checkpoint) external pure returns (bytes32) {
        return checkpoint.hash();
    }

    function hashAck(CheckpointAck calldata ack) external pure returns (bytes32) {
        return CheckpointAck(ack.checkpointHash, ack.receivedAt).hash();
    }

    function depth(uint256 count) external pure returns (uint256) {
        return LaneTree.depth(count);
    }

    function requireLeaf(bytes32 root, uint256 count, uint256 index, bytes32 leaf, bytes32[] calldata proof)
        external
        pure
    {
        LaneTree.requireLeaf(root, count, index, leaf, proof);
    }

    function signerOf(bytes32 domain, bytes32 structHash, bytes calldata signature) external pure returns (address) {
        return LaneEvidence.signerOf(domain, structHash, signature);
    }

    function requireSignedReceipt(bytes32 domain, SignedReceipt calldata signed) external pure returns (bytes32) {
        return LaneEvidence.requireSigned(domain, signed);
    }

    function requireSignedCheckpoint(bytes32 domain, SignedCheckpoint calldata signed)
        external
        pure
        returns (bytes32)
    {
        return LaneEvidence.requireSigned(domain, signed);
    }

    function requireReceiptConflict(bytes32 domain, SignedReceipt calldata first, SignedReceipt calldata second)
        external
        pure
        returns (address)
    {
        return LaneEvidence.requireConflict(domain, first, second);
    }

    function requireCheckpointConflict(
        bytes32 domain,
        SignedCheckpoint calldata first,
        SignedCheckpoint calldata second
    ) external pure returns (address) {
        return LaneEvidence.requireConflict(domain, first, second);
    }

    function requireContradiction(bytes32 domain, Contradiction calldata shown) external pure returns (address) {
        return LaneEvidence.requireContradiction(domain, shown);
    }

    function requireFork(bytes32 domain, LaneFork calldata fork) external pure returns (address) {
        return LaneEvidence.requireFork(domain, fork);
    }

    function countIn(EpochReport calldata report, uint256 laneNumber, address lane, LaneHead calldata head)
        external
        pure
        returns (uint64)
    {
        return LaneEvidence.countIn(report, laneNumber, lane, head);
    }
}
