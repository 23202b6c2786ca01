// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {NoteTree} from "contracts/libraries/NoteTree.sol";

/// @notice keccak256 is taken as injective. Words, siblings and their sums are arbitrary; trees have four leaves.
contract NoteTreeProof {
    struct Tree {
        bytes32 root;
        uint256 total;
    }

    /// @param words What the tree was made of.
    /// @param word What somebody says it holds, with the siblings' hashes and sums that shall prove it.
    struct Attempt {
        uint256[4] words;
        uint256 word;
        bytes32[2] hashes;
        uint96[2] sums;
    }

    /// What folds to root and total at an index is the word that the tree has there, with its amount.
    function check_inv_05_only_the_word_of_an_index_is_proven_0(Attempt memory attempt) external view {
        _onlyTheWord(attempt, 0);
    }

    function check_inv_05_only_the_word_of_an_index_is_proven_1(Attempt memory attempt) external view {
        _onlyTheWord(attempt, 1);
    }

    function check_inv_05_only_the_word_of_an_index_is_proven_2(Attempt memory attempt) external view {
        _onlyTheWord(attempt, 2);
    }

    function check_inv_05_only_the_word_of_an_index_is_proven_3(Attempt memory attempt) external view {
        _onlyTheWord(attempt, 3);
    }

    /// A range folds to the tree over its words, with their sum.
    function check_inv_06_a_range_folds_to_its_tree(uint256[4] memory words) external view {
        Tree memory tree = _tree(words);
        uint256[] memory range = new uint256[](4);
        uint256 sum;
        for (uint256 i; i < 4; ++i) {
            range[i] = words[i];
            sum += NoteTree.amount(words[i]);
        }
        if (sum > type(uint96).max) return;
        (bytes32 root, uint256 total) = this.foldRange(range);
        assert(root == tree.root);
        assert(total == sum);
    }

    function foldProof(bytes32 hash, uint256 sum, uint256 index, bytes calldata proof)
        external
        pure
        returns (bytes32, uint256)
    {
        return NoteTree.foldProof(hash, sum, index, proof);
    }

    function foldRange(uint256[] calldata words) external pure returns (bytes32, uint256) {
        return NoteTree.foldRange(words);
    }

    function _onlyTheWord(Attempt memory attempt, uint256 index) private view {
        Tree memory tree = _tree(attempt.words);
        uint256 word = attempt.word;
        if (tree.total > type(uint96).max || word == 0) return;
        bytes memory proof =
            abi.encodePacked(attempt.hashes[0], attempt.sums[0], attempt.hashes[1], attempt.sums[1]);
        try this.foldProof(NoteTree.leaf(word), NoteTree.amount(word), index, proof) returns (
            bytes32 root, uint256 total
        ) {
            if (root == tree.root && total == tree.total) assert(word == attempt.words[index]);
        } catch {}
    }

    function _tree(uint256[4] memory words) private pure returns (Tree memory tree) {
        uint96 left = uint96(uint256(NoteTree.amount(words[0])) + NoteTree.amount(words[1]));
        uint96 right = uint96(uint256(NoteTree.amount(words[2])) + NoteTree.amount(words[3]));
        bytes32 leftHash = _pair(words[0], words[1]);
        bytes32 rightHash = _pair(words[2], words[3]);
        tree.root = NoteTree.node(leftHash, left, rightHash, right);
        tree.total = uint256(NoteTree.amount(words[0])) + NoteTree.amount(words[1]) + NoteTree.amount(words[2])
            + NoteTree.amount(words[3]);
    }

    function _pair(uint256 left, uint256 right) private pure returns (bytes32) {
        return NoteTree.node(
            NoteTree.leaf(left), NoteTree.amount(left), NoteTree.leaf(right), NoteTree.amount(right)
        );
    }
}
