// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that makes some transfers cost too much
/// @notice For a cursed receiver it burns all gas it is given, or answers with more data than anyone should copy.
/// One such receiver must not hold up a range. Test only.
contract GasGuzzlerToken is ERC20 {
    enum Curse {
        None,
        BurnGas,
        ReturnBomb,
        RevertBomb
    }

    uint256 public constant BOMB_BYTES = 200_000;

    mapping(address account => Curse) public curseOf;

    constructor() ERC20("Gas Guzzler Token", "GAS") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setCurse(address account, Curse curse) external {
        curseOf[account] = curse;
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        Curse curse = curseOf[to];
        if (curse == Curse.None) return;
        uint256 length = BOMB_BYTES;
        assembly ("memory-safe") {
            if eq(curse, 1) { invalid() }
            // the first word says true, so a reader of the answer would think that all went well
            mstore(0, 1)
            if eq(curse, 2) { return(0, length) }
            revert(0, length)
        }
    }
}
