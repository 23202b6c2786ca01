// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IRoyaltySplitter} from "../interfaces/IRoyaltySplitter.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Merkle-sum tree of notes
/// @notice word = payee(20 bytes) ‖ amount(12), leaf = keccak256(0x00 ‖ word), node = keccak256(leftHash ‖ leftSum(12)
/// ‖ rightHash ‖ rightSum(12)). The zero word is a missing leaf: hash 0, sum 0. A leaf hashes 33 bytes and a node 88,
/// so neither passes for the other.
///
/// An entry, hash ‖ sum, takes 44 bytes; two neighbors in memory are exactly what their parent hashes. A sum is
/// written as the head of a word: the 20 bytes that this spills are written over next, or never read.
///
/// Sums are added at full width and refused past uint96. Within one fold they only grow, so a last sum that fits
/// proves that each one hashed on the way did too.
library NoteTree {
    uint256 internal constant ENTRY_BYTES = 44;
    uint256 internal constant AMOUNT_MASK = 0xffffffffffffffffffffffff; // uint96

    function payee(uint256 word) internal pure returns (address) {
        return address(uint160(word >> 96));
    }

    function amount(uint256 word) internal pure returns (uint96) {
        return uint96(word);
    }

    /// @notice Levels above the leaves: the least d with 2**d >= count.
    function depth(uint256 count) internal pure returns (uint256) {
        return Math.log2(count, Math.Rounding.Ceil);
    }

    function leaf(uint256 word) internal pure returns (bytes32 hash) {
        if (word == 0) return 0;
        assembly ("memory-safe") {
            mstore8(0, 0)
            mstore(1, word)
            hash := keccak256(0, 33)
        }
    }

    /// @notice A leaf of a reserve tree: 65 bytes, so it passes neither for a note's leaf nor for a node.
    function reserveLeaf(uint256 word, bytes32 salt) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(2), word, salt));
    }

    function node(bytes32 leftHash, uint96 leftSum, bytes32 rightHash, uint96 rightSum)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(leftHash, leftSum, rightHash, rightSum));
    }

    /// @notice Hash and sum of the root above an entry.
    /// @param index Position of the entry in its level; bit i says on which side it stands i levels further up.
    /// @param proof Sibling entries, bottom up. The caller checks its length.
    function foldProof(bytes32 hash, uint256 sum, uint256 index, bytes calldata proof)
        internal
        pure
        returns (bytes32 rootHash, uint256 rootSum)
    {
        assembly ("memory-safe") {
            let pair := mload(0x40)
            let bothPlaces := add(add(pair, pair), ENTRY_BYTES)
            let item := proof.offset
            for { let end := add(item, proof.length) } lt(item, end) { item := add(item, ENTRY_BYTES) } {
                let own := add(pair, mul(ENTRY_BYTES, and(index, 1)))
                mstore(own, hash)
                mstore(add(own, 32), shl(160, sum))
                calldatacopy(sub(bothPlaces, own), item, ENTRY_BYTES)
                hash := keccak256(pair, 88)
                sum := add(sum, shr(160, calldataload(add(item, 32))))
                index := shr(1, index)
            }
            rootHash := hash
            rootSum := sum
        }
        if (rootSum > AMOUNT_MASK) revert IRoyaltySplitter.RoyaltySplitter_SumOverflow();
    }

    /// @notice Hash and sum of the subtree over a power of two of words. The caller checks their number.
    function foldRange(uint256[] calldata words) internal pure returns (bytes32 hash, uint256 sum) {
        assembly ("memory-safe") {
            let entries := mload(0x40)
            let count := words.length
            let word := words.offset
            mstore8(0, 0) // what sets a leaf apart; mstore(1, …) below leaves it alone
            for { let end := add(entries, mul(count, ENTRY_BYTES)) let entry := entries } lt(entry, end) {
                entry := add(entry, ENTRY_BYTES)
                word := add(word, 32)
            } {
                let value := calldataload(word)
                mstore(1, value)
                let leafHash := mul(keccak256(0, 33), iszero(iszero(value)))
                mstore(entry, leafHash)
                mstore(add(entry, 32), shl(160, value))
                sum := add(sum, and(value, AMOUNT_MASK))
            }
            // Level by level, in place: a parent, with what it spills, ends before the next pair begins.
            for {} gt(count, 1) { count := shr(1, count) } {
                let parent := entries
                let pair := entries
                for { let end := add(entries, mul(count, ENTRY_BYTES)) } lt(pair, end) { pair := add(pair, 88) } {
                    let parentSum := add(shr(160, mload(add(pair, 32))), shr(160, mload(add(pair, 76))))
                    mstore(parent, keccak256(pair, 88))
                    mstore(add(parent, 32), shl(160, parentSum))
                    parent := add(parent, ENTRY_BYTES)
                }
            }
            hash := mload(entries)
        }
        if (sum > AMOUNT_MASK) revert IRoyaltySplitter.RoyaltySplitter_SumOverflow();
    }
}
