// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {FeePurse} from "./FeePurse.sol";
import {ILicenseFees} from "../interfaces/ILicenseFees.sol";

/// @title The part of LicenseFees that holds upfront fees
abstract contract UpfrontFees is FeePurse {
    mapping(uint32 licenseId => Upfront) private _upfronts;
    /// @dev All held upfront fees. Whatever else went wrong, no more than this can leave as upfront fees.
    uint96 internal _heldUpfront;

    /// @inheritdoc ILicenseFees
    function collectUpfront(uint32 licenseId, address from, uint96 amount) external nonReentrant {
        if (msg.sender != registry) revert LicenseFees_OnlyRegistry(msg.sender);
        if (amount == 0) revert LicenseFees_ZeroAmount();
        Stage stage = _upfronts[licenseId].stage;
        if (stage != Stage.None) revert LicenseFees_NotHeld(licenseId, stage);
        _upfronts[licenseId] = Upfront(amount, Stage.Held);
        _heldUpfront += amount;
        emit UpfrontCollected(licenseId, from, amount);
        _collect(from, amount);
    }

    /// @inheritdoc ILicenseFees
    function releaseUpfront(uint32 licenseId) external nonReentrant {
        _requireBound(licenseId);
        uint96 amount = _settleUpfront(licenseId, Stage.Released);
        emit UpfrontReleased(licenseId, amount);
        _release(licenseId, amount);
    }

    /// @inheritdoc ILicenseFees
    function refundUpfront(uint32 licenseId, address to) external nonReentrant {
        _requireBuyer(licenseId, to);
        if (!_cooledOff(licenseId)) revert LicenseFees_NotCooledOff(licenseId);
        uint96 amount = _settleUpfront(licenseId, Stage.Refunded);
        emit UpfrontRefunded(licenseId, to, amount);
        _refund(to, amount);
    }

    /// @inheritdoc ILicenseFees
    function upfront(uint32 licenseId) external view returns (Upfront memory) {
        return _upfronts[licenseId];
    }

    /// @dev A fee leaves once and whole.
    function _settleUpfront(uint32 licenseId, Stage stage) private returns (uint96 amount) {
        Upfront storage found = _upfronts[licenseId];
        if (found.stage != Stage.Held) revert LicenseFees_NotHeld(licenseId, found.stage);
        found.stage = stage;
        amount = found.amount;
        _heldUpfront -= amount;
    }
}
