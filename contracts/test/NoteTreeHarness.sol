// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {NoteTree} from "../libraries/NoteTree.sol";

/// @title NoteTree with a door, so that tests can compare it with Python. Test only.
contract NoteTreeHarness {
    function depth(uint256 count) external pure returns (uint256) {
        return NoteTree.depth(count);
    }

    function leaf(uint256 word) external pure returns (bytes32) {
        return NoteTree.leaf(word);
    }

    function node(bytes32 leftHash, uint96 leftSum, bytes32 rightHash, uint96 rightSum)
        external
        pure
        returns (bytes32)
    {
        return NoteTree.node(leftHash, leftSum, rightHash, rightSum);
    }

    function foldNote(uint256 word, uint256 index, bytes calldata proof)
        external
        pure
        returns (bytes32 root, uint256 total)
    {
        return NoteTree.foldProof(NoteTree.leaf(word), NoteTree.amount(word), index, proof);
    }

    /// @param position Start of the range, in ranges of this size.
    function foldRange(uint256[] calldata words, uint256 position, bytes calldata proof)
        external
        pure
        returns (bytes32 root, uint256 total)
    {
        (bytes32 hash, uint256 sum) = NoteTree.foldRange(words);
        return NoteTree.foldProof(hash, sum, position, proof);
    }
}
