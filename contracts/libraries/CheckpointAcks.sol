// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {LaneEvidence} from "./LaneEvidence.sol";
import {ReceiptHash} from "./ReceiptHash.sol";
import {CheckpointAck, SignedAck} from "../types/Receipt.sol";

/// @title What nodes' acknowledgements prove
/// @notice Of n signers at most f = (n - 1) / 3 are faulty, so of f + 1 who say that they hold a checkpoint one does.
library CheckpointAcks {
    using ReceiptHash for CheckpointAck;

    error CheckpointAcks_TooLate(uint64 receivedAt, uint64 latest);
    error CheckpointAcks_NotAscending(address previous, address next);
    error CheckpointAcks_NotSigner(address acker);
    error CheckpointAcks_TooFew(uint256 given, uint256 needed);

    /// @notice Who acknowledged a checkpoint, each at or before `latest` in seconds. Ascending, so distinct.
    function recover(bytes32 domain, bytes32 checkpointHash, uint64 latest, SignedAck[] calldata acks)
        internal
        pure
        returns (address[] memory ackers)
    {
        ackers = new address[](acks.length);
        address previous;
        for (uint256 i; i < acks.length; ++i) {
            uint64 receivedAt = acks[i].receivedAt;
            if (receivedAt > latest) revert CheckpointAcks_TooLate(receivedAt, latest);
            bytes32 ackHash = CheckpointAck(checkpointHash, receivedAt).hash();
            address acker = LaneEvidence.signerOf(domain, ackHash, acks[i].signature);
            if (acker <= previous) revert CheckpointAcks_NotAscending(previous, acker);
            ackers[i] = acker;
            previous = acker;
        }
    }

    /// @notice Revert unless all are among these signers, and one more of them than may be faulty. Both ascend.
    function requireEnough(address[] memory ackers, address[] memory signers) internal pure {
        uint256 needed = (signers.length - 1) / 3 + 1;
        if (ackers.length < needed) revert CheckpointAcks_TooFew(ackers.length, needed);
        uint256 at;
        for (uint256 i; i < ackers.length; ++i) {
            while (at < signers.length && signers[at] < ackers[i]) ++at;
            if (at == signers.length || signers[at] != ackers[i]) revert CheckpointAcks_NotSigner(ackers[i]);
        }
    }
}
