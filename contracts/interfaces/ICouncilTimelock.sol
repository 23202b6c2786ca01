// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title The time between a decision of the council and its effect
/// @notice An OpenZeppelin TimelockController that holds the council's powers. The council alone proposes and executes;
/// what it passed waits, in public, and then happens. It administers its own roles, so that a later council can be
/// voted in without moving any power.
///
/// Safety: nobody cancels what has passed, neither guardian nor council: a guardian cannot keep itself in office. The
/// delay can be made longer, never shorter than at deployment. Ether is refused.
/// Liveness: needs a council that can reach its quorum.
interface ICouncilTimelock {
    error CouncilTimelock_ZeroAddress(string what);
    error CouncilTimelock_BadDelay(uint256 seconds_, uint256 least, uint256 most);
    error CouncilTimelock_NothingIsCanceled(bytes32 id);
    error CouncilTimelock_EtherRefused();

    /// @notice The delay at deployment: no later one is shorter.
    function leastDelaySeconds() external view returns (uint256);
}
