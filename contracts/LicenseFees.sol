// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {FeePurse} from "./fees/FeePurse.sol";
import {Milestones} from "./fees/Milestones.sol";
import {Royalties} from "./fees/Royalties.sol";
import {UpfrontFees} from "./fees/UpfrontFees.sol";
import {ILicenseFees} from "./interfaces/ILicenseFees.sol";

/// @title LicenseFees
/// @notice Three kinds of fee behind one address, which buyers approve and the splitter trusts. Each kind is a part of
/// its own in fees/ and shares nothing with the others but the way money moves. Rules and guarantees: {ILicenseFees}.
contract LicenseFees is UpfrontFees, Milestones, Royalties {
    constructor(address token_, address registry_, address splitter_, address councilRegister_)
        FeePurse(token_, registry_, splitter_)
        Royalties(councilRegister_)
    {}

    /// @inheritdoc ILicenseFees
    function held() external view returns (uint96 upfrontFees, uint96 milestones) {
        return (_heldUpfront, _heldMilestones);
    }
}
