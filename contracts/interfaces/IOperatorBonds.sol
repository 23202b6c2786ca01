// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Oracle operators' bonds, one per signer key
interface IOperatorBonds {
    /// @notice Disputes and challenges: take a signer's whole bond, thawing parts included. At most a tenth is
    /// credited to `reporter`, the rest to the remediation fund; both are pulled.
    function slash(address signer, address reporter) external returns (uint96 slashed);

    /// @notice What a signer has bonded and is not thawing.
    function bonded(address signer) external view returns (uint96);
    /// @notice The least that each signer of a new committee version must have bonded; set by the council.
    function minimumBond() external view returns (uint96);
}
