// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Checkpoint, CheckpointAck, UsageReceipt} from "../types/Receipt.sol";

/// @title EIP-712 struct hashes of what lanes and nodes sign about usage
/// @notice Signed under the settlement's domain, as reports are; {LaneEvidence} makes the digest. A member with bits
/// outside of its type is refused by the decoder.
library ReceiptHash {
    bytes32 internal constant RECEIPT_TYPEHASH = keccak256(
        "UsageReceipt(address lane,uint64 seq,uint64 units,uint128 cumulativeUnits,bytes32 usageRoot,bytes32 requestHash,uint64 issuedAtMs)"
    );
    bytes32 internal constant CHECKPOINT_TYPEHASH =
        keccak256("Checkpoint(address lane,uint64 count,uint128 cumulativeUnits,bytes32 receiptsRoot)");
    bytes32 internal constant ACK_TYPEHASH = keccak256("CheckpointAck(bytes32 checkpointHash,uint64 receivedAt)");

    /// @return structHash Also the receipt's leaf in its lane tree.
    function hash(UsageReceipt calldata receipt) internal pure returns (bytes32 structHash) {
        return keccak256(abi.encode(RECEIPT_TYPEHASH, receipt));
    }

    /// @return structHash Also the lane's leaf under a report's lanesRoot.
    function hash(Checkpoint calldata checkpoint) internal pure returns (bytes32 structHash) {
        return keccak256(abi.encode(CHECKPOINT_TYPEHASH, checkpoint));
    }

    function hash(CheckpointAck memory ack) internal pure returns (bytes32 structHash) {
        return keccak256(abi.encode(ACK_TYPEHASH, ack));
    }
}
