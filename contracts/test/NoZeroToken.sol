// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that refuses to move nothing
/// @notice Some do. Test only.
contract NoZeroToken is ERC20 {
    error NoZeroToken_Nothing();

    constructor() ERC20("No-Zero Token", "SOME") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (value == 0) revert NoZeroToken_Nothing();
        super._update(from, to, value);
    }
}
