// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IRoyaltySplitter} from "../interfaces/IRoyaltySplitter.sol";
import {NoteTree} from "./NoteTree.sol";

/// @title That notes stand in an issued tree
/// @notice Root and total must both match: the total is what was funded.
library NoteProof {
    uint256 private constant MAX_LOG2_COUNT = 8; // one word of paid bits

    /// @notice That a leaf stands at an index below the tree's count, under exactly the tree's depth.
    function requireLeaf(
        IRoyaltySplitter.Tree memory tree,
        uint64 treeId,
        uint256 index,
        bytes32 leaf,
        uint96 amount,
        bytes calldata proof
    ) internal pure {
        if (index >= tree.count) revert IRoyaltySplitter.RoyaltySplitter_IndexOutOfRange(treeId, index, tree.count);
        _requireLength(treeId, proof, NoteTree.depth(tree.count));
        _requireRoot(tree, treeId, leaf, amount, index, proof);
    }

    /// @notice That words are those of an aligned power of two inside the tree, zero beyond its count.
    function requireRange(
        IRoyaltySplitter.Tree memory tree,
        uint64 treeId,
        uint256 start,
        uint256 log2Count,
        uint256[] calldata words,
        bytes calldata proof
    ) internal pure {
        uint256 depth = NoteTree.depth(tree.count);
        uint256 size = 1 << log2Count;
        if (log2Count > MAX_LOG2_COUNT || log2Count > depth || start & (size - 1) != 0) {
            revert IRoyaltySplitter.RoyaltySplitter_BadRange(start, log2Count, depth);
        }
        if (start >= tree.count) revert IRoyaltySplitter.RoyaltySplitter_IndexOutOfRange(treeId, start, tree.count);
        if (words.length != size) revert IRoyaltySplitter.RoyaltySplitter_WrongWordCount(words.length, size);
        _requireLength(treeId, proof, depth - log2Count);
        for (uint256 i = tree.count - start; i < size; ++i) {
            if (words[i] != 0) revert IRoyaltySplitter.RoyaltySplitter_WordsBeyondCount(start + i);
        }
        (bytes32 hash, uint256 sum) = NoteTree.foldRange(words);
        _requireRoot(tree, treeId, hash, sum, start >> log2Count, proof);
    }

    function _requireLength(uint64 treeId, bytes calldata proof, uint256 levels) private pure {
        uint256 expected = levels * NoteTree.ENTRY_BYTES;
        if (proof.length != expected) {
            revert IRoyaltySplitter.RoyaltySplitter_BadProofLength(treeId, proof.length, expected);
        }
    }

    function _requireRoot(
        IRoyaltySplitter.Tree memory tree,
        uint64 treeId,
        bytes32 hash,
        uint256 sum,
        uint256 index,
        bytes calldata proof
    ) private pure {
        (hash, sum) = NoteTree.foldProof(hash, sum, index, proof);
        if (hash != tree.root || sum != tree.total) {
            revert IRoyaltySplitter.RoyaltySplitter_ProofMismatch(treeId, hash, sum);
        }
    }
}
