// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title A token transfer that reports instead of reverting
library TokenTransfer {
    /// @notice IERC20.transfer: true if the token says true, or says nothing and has code. It gets `gasLimit`, or 63/64
    /// of what is left if that is less. At most one word of an answer is copied, so that no token can make the caller
    /// pay for a long one.
    function trySend(address token, address to, uint256 amount, uint256 gasLimit) internal returns (bool sent) {
        bytes4 selector = IERC20.transfer.selector;
        assembly ("memory-safe") {
            let call_ := mload(0x40)
            mstore(call_, selector)
            mstore(add(call_, 4), to)
            mstore(add(call_, 36), amount)
            mstore(0, 0)
            if call(gasLimit, token, 0, call_, 68, 0, 32) {
                switch returndatasize()
                case 0 { sent := gt(extcodesize(token), 0) }
                default { sent := and(gt(returndatasize(), 31), eq(mload(0), 1)) }
            }
        }
    }
}
