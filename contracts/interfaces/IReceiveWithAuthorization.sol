// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title The part of EIP-3009 that deposits use
/// @notice Unlike transferWithAuthorization only the payee can carry it, so the money never arrives outside of the
/// payee's own bookkeeping.
interface IReceiveWithAuthorization {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}
