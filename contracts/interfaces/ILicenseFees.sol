// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title What a license costs besides its use: upfront fee, milestones, royalty on declared revenue
interface ILicenseFees {
    /// @notice Registry: pull the upfront fee of an offer, at acceptance. The buyer has approved this contract. It is
    /// held until the cooling-off time is over.
    function collectUpfront(uint32 licenseId, address from, uint96 amount) external;
}
