// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Evidence is promised before it is shown
/// @notice Whoever copies evidence out of somebody's transaction would take the reward for finding it. So a challenger
/// first commits to the whole call that will show it, and shows it at least a minute and at most a day later: who
/// copies it then is too late to have committed.
///
/// A commitment is keccak256(abi.encode(challenger, keccak256(callData))), where callData is the exact input of the
/// call to come, its salt included. It binds function, evidence, salt and sender; nobody but its sender can use,
/// renew or spoil it.
interface ICommitReveal {
    event Committed(address indexed challenger, bytes32 commitment);

    error CommitReveal_NotCommitted(bytes32 commitment);
    error CommitReveal_TooEarly(uint256 revealableAt, uint256 nowSeconds);
    error CommitReveal_TooLate(uint256 expiredAt, uint256 nowSeconds);

    /// @notice Promise a call. Committing again starts its time anew.
    function commit(bytes32 commitment) external;

    /// @return seconds_ When the sender committed to it; 0 if never, or if it was used.
    function committedAt(address challenger, bytes32 commitment) external view returns (uint48 seconds_);
}
