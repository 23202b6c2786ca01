// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseFees} from "../interfaces/ILicenseFees.sol";
import {ILicenseRegistry} from "../interfaces/ILicenseRegistry.sol";
import {IRoyaltySplitter} from "../interfaces/IRoyaltySplitter.sol";
import {License, LicenseOffer} from "../types/License.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title The part of LicenseFees that moves money and knows the license
/// @notice The parts above it decide; nothing else in LicenseFees calls the token or the splitter.
abstract contract FeePurse is ILicenseFees, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @inheritdoc ILicenseFees
    address public immutable token;
    /// @inheritdoc ILicenseFees
    address public immutable registry;
    /// @inheritdoc ILicenseFees
    address public immutable splitter;

    constructor(address token_, address registry_, address splitter_) EIP712("Usufruct Fees", "1") {
        if (registry_ == address(0)) revert LicenseFees_ZeroAddress("registry");
        if (splitter_ == address(0)) revert LicenseFees_ZeroAddress("splitter");
        address expected = ILicenseRegistry(registry_).token();
        if (token_ != expected) revert LicenseFees_WrongToken(token_, expected);
        token = token_;
        registry = registry_;
        splitter = splitter_;
    }

    /// @dev Pull money into this contract. The token's word is not enough: all of it must arrive.
    function _collect(address from, uint256 amount) internal {
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(from, address(this), amount);
        _requireDelta(address(this), balanceBefore, amount);
    }

    /// @dev Pay held money to the splitter as income of a license.
    function _release(uint32 licenseId, uint96 amount) internal {
        uint256 balanceBefore = IERC20(token).balanceOf(splitter);
        IERC20(token).safeTransfer(splitter, amount);
        _requireDelta(splitter, balanceBefore, amount);
        IRoyaltySplitter(splitter).accrueIncome(licenseId, amount);
    }

    /// @dev Pay somebody's money to the splitter as income of a license, without holding it.
    function _passOn(uint32 licenseId, address from, uint96 amount) internal {
        uint256 balanceBefore = IERC20(token).balanceOf(splitter);
        IERC20(token).safeTransferFrom(from, splitter, amount);
        _requireDelta(splitter, balanceBefore, amount);
        IRoyaltySplitter(splitter).accrueIncome(licenseId, amount);
    }

    /// @dev Pay held money back.
    function _refund(address to, uint256 amount) internal {
        IERC20(token).safeTransfer(to, amount);
    }

    /// @dev That an offer is the one this license was accepted by.
    function _requireOffer(uint32 licenseId, LicenseOffer calldata offer) internal view {
        bytes32 accepted = _license(licenseId).offerHash;
        bytes32 given = ILicenseRegistry(registry).hashOffer(offer);
        if (given != accepted) revert LicenseFees_WrongOffer(licenseId, given, accepted);
    }

    /// @dev For a refund: the buyer asks, and names somebody.
    function _requireBuyer(uint32 licenseId, address to) internal view {
        if (msg.sender != _license(licenseId).buyer) revert LicenseFees_NotBuyer(licenseId, msg.sender);
        if (to == address(0)) revert LicenseFees_ZeroAddress("to");
    }

    /// @dev For a release: the buyer cannot cool off any more, and has not.
    function _requireBound(uint32 licenseId) internal view {
        if (_cooledOff(licenseId)) revert LicenseFees_CooledOff(licenseId);
        uint256 until = _coolingOffEnd(_license(licenseId));
        if (block.timestamp < until) revert LicenseFees_CoolingOff(licenseId, until);
    }

    function _cooledOff(uint32 licenseId) internal view returns (bool) {
        return ILicenseRegistry(registry).cooledOff(licenseId);
    }

    /// @dev Reverts for a license that does not exist.
    function _license(uint32 licenseId) internal view returns (License memory) {
        return ILicenseRegistry(registry).license(licenseId);
    }

    /// @dev First second in which the buyer cannot cool off, as the registry counts it.
    function _coolingOffEnd(License memory found) internal pure returns (uint256) {
        return uint256(found.acceptedAt) + found.coolingOffSeconds;
    }

    function _requireDelta(address holder, uint256 balanceBefore, uint256 expected) private view {
        uint256 balance = IERC20(token).balanceOf(holder);
        uint256 received = balance > balanceBefore ? balance - balanceBefore : 0;
        if (received != expected) revert LicenseFees_WrongDelta(expected, received);
    }
}
