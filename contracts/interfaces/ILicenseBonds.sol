// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Buyers' usage bonds, one per license
interface ILicenseBonds {
    /// @notice Registry: pull the bond that an offer asks for, at acceptance. The buyer has approved this contract.
    function collect(uint32 licenseId, address from, uint96 amount) external;

    /// @notice Challenges and duties: take up to `amount` from a license's bond. At most a tenth of it is credited to
    /// `reporter` (nothing if that is zero), the rest to the remediation fund; both are pulled.
    /// @return slashed What was there to take.
    function slash(uint32 licenseId, uint96 amount, address reporter) external returns (uint96 slashed);

    function bond(uint32 licenseId) external view returns (uint96);
    /// @notice The bond that the offer asked for.
    function agreedBond(uint32 licenseId) external view returns (uint96);
}
