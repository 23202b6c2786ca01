// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that calls back while it moves
/// @notice Once armed, each transfer calls a chosen function in its middle, as an ERC-777 hook would: re-entry. It
/// can also act for itself, and so be the buyer or the steward whose functions it re-enters. Test only.
contract CallbackToken is ERC20 {
    address public target;
    bytes public callback;
    uint256 public callsLeft;
    /// @notice How often a callback ran through, and what the last one returned or reverted with.
    uint256 public callbacksSucceeded;
    uint256 public callbacksFailed;
    bytes public lastAnswer;

    constructor() ERC20("Callback Token", "CALL") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Call `target` with `callback` in the middle of each of the next `times` transfers.
    function arm(address target_, bytes calldata callback_, uint256 times) external {
        target = target_;
        callback = callback_;
        callsLeft = times;
    }

    /// @notice Call anything, as this contract.
    function act(address target_, bytes calldata data) external returns (bytes memory answer) {
        bool success;
        (success, answer) = target_.call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @dev The money has moved but the caller has not seen it yet: the worst moment to be called.
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (callsLeft == 0) return;
        --callsLeft;
        bool success;
        (success, lastAnswer) = target.call(callback);
        if (success) ++callbacksSucceeded;
        else ++callbacksFailed;
    }
}
