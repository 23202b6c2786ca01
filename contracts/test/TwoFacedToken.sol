// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that can be moved at two addresses
/// @notice Its other address is a {SecondFace}, as some tokens kept an old address beside a new one. Test only.
contract TwoFacedToken is ERC20 {
    constructor() ERC20("Two-Faced Token", "TWO") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice The other face has checked who asks.
    function moveAs(address from, address to, uint256 value) external {
        _transfer(from, to, value);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
