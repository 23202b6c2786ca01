// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title The padded Merkle tree of receipts under a checkpoint, of lanes under a report, of usage lists and rosters
/// @notice node = keccak256(left ‖ right); leaves are padded with zeros to a power of two. The index fixes the path
/// and the count its length, so no inner node passes for a leaf and no padding for a member: leaves hash more or fewer
/// bytes than the 64 of a node, and an index must be below the count.
library LaneTree {
    error LaneTree_NoSuchLeaf(uint256 index, uint256 count);
    error LaneTree_WrongProofLength(uint256 given, uint256 expected);
    error LaneTree_WrongProof(bytes32 root, bytes32 found);

    /// @notice Levels above the leaves: the least d with 2**d >= count.
    function depth(uint256 count) internal pure returns (uint256) {
        return Math.log2(count, Math.Rounding.Ceil);
    }

    /// @notice Revert unless `leaf` is leaf number `index` of the tree of `count` leaves with this root.
    /// @param proof Siblings, bottom up, exactly as many as the tree is deep.
    function requireLeaf(bytes32 root, uint256 count, uint256 index, bytes32 leaf, bytes32[] calldata proof)
        internal
        pure
    {
        if (index >= count) revert LaneTree_NoSuchLeaf(index, count);
        uint256 levels = depth(count);
        if (proof.length != levels) revert LaneTree_WrongProofLength(proof.length, levels);
        bytes32 node = leaf;
        for (uint256 level; level < levels; ++level) {
            node = (index >> level) & 1 == 0
                ? Hashes.efficientKeccak256(node, proof[level])
                : Hashes.efficientKeccak256(proof[level], node);
        }
        if (node != root) revert LaneTree_WrongProof(root, node);
    }
}
