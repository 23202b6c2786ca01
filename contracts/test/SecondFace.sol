// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {TwoFacedToken} from "./TwoFacedToken.sol";

/// @title The other address of a {TwoFacedToken}
/// @notice Test only.
contract SecondFace {
    TwoFacedToken public immutable face;

    constructor(TwoFacedToken face_) {
        face = face_;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        face.moveAs(msg.sender, to, value);
        return true;
    }

    function balanceOf(address account) external view returns (uint256) {
        return face.balanceOf(account);
    }
}
