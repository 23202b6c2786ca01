// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that says no by returning false
/// @notice Older tokens do not revert when they refuse; whoever ignores the answer books a payment that never
/// happened. Refuses chosen accounts, as sender or receiver. Test only.
contract FalseToken is ERC20 {
    mapping(address account => bool) public isRefused;

    constructor() ERC20("False Token", "FALSE") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setRefused(address account, bool refused) external {
        isRefused[account] = refused;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (isRefused[msg.sender] || isRefused[to]) return false;
        return super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        if (isRefused[from] || isRefused[to]) return false;
        return super.transferFrom(from, to, value);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
