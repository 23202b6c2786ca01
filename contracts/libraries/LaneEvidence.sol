// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {LaneTree} from "./LaneTree.sol";
import {ReceiptHash} from "./ReceiptHash.sol";
import {
    Checkpoint,
    Contradiction,
    LaneFork,
    LaneHead,
    SignedCheckpoint,
    SignedReceipt,
    UsageReceipt
} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title What a lane's signatures prove
/// @notice `domain` is always the settlement's separator, so a signature for another chain or deployment proves
/// nothing here. Signatures are 65 bytes r ‖ s ‖ v with s in the lower half. Whether a key is a lane at all is for the
/// caller to ask the registry.
library LaneEvidence {
    using ReceiptHash for *;

    error LaneEvidence_BadSignature(bytes32 structHash);
    error LaneEvidence_WrongSigner(address expected, address recovered);
    error LaneEvidence_WrongLane(address expected, address given);
    error LaneEvidence_NoConflict();

    /// @notice Who signed a struct. Reverts for a malformed signature or one with a high s.
    function signerOf(bytes32 domain, bytes32 structHash, bytes calldata signature)
        internal
        pure
        returns (address signer)
    {
        ECDSA.RecoverError problem;
        (signer, problem,) = ECDSA.tryRecover(MessageHashUtils.toTypedDataHash(domain, structHash), signature);
        if (problem != ECDSA.RecoverError.NoError) revert LaneEvidence_BadSignature(structHash);
    }

    /// @notice Revert unless the lane that a receipt names signed it.
    function requireSigned(bytes32 domain, SignedReceipt calldata signed) internal pure returns (bytes32 structHash) {
        structHash = signed.receipt.hash();
        _requireSigner(domain, structHash, signed.receipt.lane, signed.signature);
    }

    /// @notice Revert unless the lane that a checkpoint names signed it.
    function requireSigned(bytes32 domain, SignedCheckpoint calldata signed)
        internal
        pure
        returns (bytes32 structHash)
    {
        return requireSigned(domain, signed.checkpoint, signed.signature);
    }

    /// @notice Revert unless the lane that a checkpoint names signed it.
    function requireSigned(bytes32 domain, Checkpoint calldata checkpoint, bytes calldata signature)
        internal
        pure
        returns (bytes32 structHash)
    {
        structHash = checkpoint.hash();
        _requireSigner(domain, structHash, checkpoint.lane, signature);
    }

    /// @notice Revert unless these are two different receipts of one lane with one seq.
    function requireConflict(bytes32 domain, SignedReceipt calldata first, SignedReceipt calldata second)
        internal
        pure
        returns (address lane)
    {
        lane = first.receipt.lane;
        _requireSameLane(lane, second.receipt.lane);
        bytes32 firstHash = requireSigned(domain, first);
        if (first.receipt.seq != second.receipt.seq || firstHash == requireSigned(domain, second)) {
            revert LaneEvidence_NoConflict();
        }
    }

    /// @notice Revert unless these two checkpoints of one lane cannot be prefixes of one sequence of receipts: equal
    /// counts that differ otherwise, or fewer units under the higher count.
    function requireConflict(bytes32 domain, SignedCheckpoint calldata first, SignedCheckpoint calldata second)
        internal
        pure
        returns (address lane)
    {
        Checkpoint calldata one = first.checkpoint;
        Checkpoint calldata other = second.checkpoint;
        lane = one.lane;
        _requireSameLane(lane, other.lane);
        bytes32 firstHash = requireSigned(domain, first);
        bytes32 secondHash = requireSigned(domain, second);
        bool conflicts = one.count == other.count
            ? firstHash != secondHash
            : (one.count < other.count
                ? other.cumulativeUnits < one.cumulativeUnits
                : one.cumulativeUnits < other.cumulativeUnits);
        if (!conflicts) revert LaneEvidence_NoConflict();
    }

    /// @notice Revert unless these two checkpoints cover different receipts of one seq.
    function requireFork(bytes32 domain, LaneFork calldata fork) internal pure returns (address lane) {
        lane = fork.first.checkpoint.lane;
        _requireSameLane(lane, fork.second.checkpoint.lane);
        requireSigned(domain, fork.first);
        requireSigned(domain, fork.second);
        _requireCovered(fork.first.checkpoint, fork.seq, fork.firstLeaf, fork.firstProof);
        _requireCovered(fork.second.checkpoint, fork.seq, fork.secondLeaf, fork.secondProof);
        if (fork.firstLeaf == fork.secondLeaf) revert LaneEvidence_NoConflict();
    }

    /// @notice Revert unless a receipt has fewer cumulative units than an earlier one and its own together. A receipt
    /// given twice must have fewer than its own.
    function requireShort(bytes32 domain, SignedReceipt calldata earlier, SignedReceipt calldata later)
        internal
        pure
        returns (address lane)
    {
        lane = earlier.receipt.lane;
        _requireSameLane(lane, later.receipt.lane);
        requireSigned(domain, earlier);
        requireSigned(domain, later);
        uint64 seq = later.receipt.seq;
        uint256 before = earlier.receipt.seq < seq ? earlier.receipt.cumulativeUnits : 0;
        if (earlier.receipt.seq > seq || later.receipt.cumulativeUnits >= before + later.receipt.units) {
            revert LaneEvidence_NoConflict();
        }
    }

    /// @notice Revert unless a checkpoint has fewer units than a receipt that it covers, or a receipt beyond it fewer
    /// than the checkpoint and its own together.
    function requireShort(bytes32 domain, SignedReceipt calldata signed, SignedCheckpoint calldata covering)
        internal
        pure
        returns (address lane)
    {
        UsageReceipt calldata receipt = signed.receipt;
        Checkpoint calldata point = covering.checkpoint;
        lane = receipt.lane;
        _requireSameLane(lane, point.lane);
        requireSigned(domain, signed);
        requireSigned(domain, covering);
        bool isShort = receipt.seq < point.count
            ? point.cumulativeUnits < receipt.cumulativeUnits
            : receipt.cumulativeUnits < uint256(point.cumulativeUnits) + receipt.units;
        if (!isShort) revert LaneEvidence_NoConflict();
    }

    /// @notice Revert unless what is shown contradicts itself in one of the ways above.
    function requireContradiction(bytes32 domain, Contradiction calldata shown) internal pure returns (address lane) {
        SignedReceipt[] calldata receipts = shown.receipts;
        SignedCheckpoint[] calldata points = shown.checkpoints;
        if (shown.forks.length == 1 && receipts.length + points.length == 0) return requireFork(domain, shown.forks[0]);
        if (shown.forks.length != 0 || receipts.length + points.length != 2) revert LaneEvidence_NoConflict();
        if (receipts.length == 1) return requireShort(domain, receipts[0], points[0]);
        if (receipts.length == 0) return requireConflict(domain, points[0], points[1]);
        bool isPair = receipts[0].receipt.seq == receipts[1].receipt.seq
            && receipts[0].receipt.hash() != receipts[1].receipt.hash();
        return isPair
            ? requireConflict(domain, receipts[0], receipts[1])
            : requireShort(domain, receipts[0], receipts[1]);
    }

    /// @notice How many receipts of a lane a report counts, by the opening of the lane's leaf. The caller has checked
    /// that the report is what it claims, and that this number is this lane's.
    function countIn(EpochReport calldata report, uint256 laneNumber, address lane, LaneHead calldata head)
        internal
        pure
        returns (uint64 count)
    {
        // A lane registered after the cut-off is no leaf at all.
        if (laneNumber >= report.laneCount) return 0;
        bytes32 leaf;
        if (head.checkpoint.lane != address(0)) {
            _requireSameLane(lane, head.checkpoint.lane);
            leaf = head.checkpoint.hash();
            count = head.checkpoint.count;
        }
        LaneTree.requireLeaf(report.lanesRoot, report.laneCount, laneNumber, leaf, head.proof);
    }

    function _requireCovered(Checkpoint calldata point, uint64 seq, bytes32 leaf, bytes32[] calldata proof) private pure {
        LaneTree.requireLeaf(point.receiptsRoot, point.count, seq, leaf, proof);
    }

    function _requireSigner(bytes32 domain, bytes32 structHash, address lane, bytes calldata signature) private pure {
        address signer = signerOf(domain, structHash, signature);
        if (signer != lane) revert LaneEvidence_WrongSigner(lane, signer);
    }

    function _requireSameLane(address expected, address given) private pure {
        if (expected != given) revert LaneEvidence_WrongLane(expected, given);
    }
}
