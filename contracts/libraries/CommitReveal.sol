// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICommitReveal} from "../interfaces/ICommitReveal.sol";

/// @title CommitReveal
/// @notice For contracts that reward who finds evidence. Rules: {ICommitReveal}.
abstract contract CommitReveal is ICommitReveal {
    uint256 internal constant REVEAL_DELAY_SECONDS = 1 minutes;
    uint256 internal constant REVEAL_WITHIN_SECONDS = 1 days;

    /// @inheritdoc ICommitReveal
    mapping(address challenger => mapping(bytes32 commitment => uint48)) public committedAt;

    /// @dev Spends the sender's commitment to this very call. Functions that carry this take a salt they never read:
    /// without it, evidence could be guessed from its commitment.
    modifier committed() {
        _spendCommitment();
        _;
    }

    /// @inheritdoc ICommitReveal
    function commit(bytes32 commitment) external {
        committedAt[msg.sender][commitment] = uint48(block.timestamp);
        emit Committed(msg.sender, commitment);
    }

    function _spendCommitment() private {
        bytes32 commitment = keccak256(abi.encode(msg.sender, keccak256(msg.data)));
        uint256 at = committedAt[msg.sender][commitment];
        if (at == 0) revert CommitReveal_NotCommitted(commitment);
        if (block.timestamp < at + REVEAL_DELAY_SECONDS) {
            revert CommitReveal_TooEarly(at + REVEAL_DELAY_SECONDS, block.timestamp);
        }
        if (block.timestamp > at + REVEAL_WITHIN_SECONDS) {
            revert CommitReveal_TooLate(at + REVEAL_WITHIN_SECONDS, block.timestamp);
        }
        delete committedAt[msg.sender][commitment];
    }
}
