// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Proofs that a buyer's gateway cheated
interface IUsageChallenges {
    /// @notice Challenges against a license that are not settled yet. While there is one, neither bond nor escrow
    /// balance can be withdrawn.
    function openAgainst(uint32 licenseId) external view returns (uint256);
}
