// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Duties to remove somebody's records, and penalties for using them after a revocation
interface IRemovalDuties {
    /// @notice Duties of a license that are neither attested nor enforced yet.
    function openFor(uint32 licenseId) external view returns (uint256);
}
