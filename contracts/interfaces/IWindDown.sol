// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title How everybody gets their money out when the committee is gone
interface IWindDown {
    /// @notice Whether buyers may take back what is left: the settlement is closed and the time in which anyone could
    /// settle lane-signed checkpoints has passed.
    function refundsOpen() external view returns (bool);
}
