// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICommunityFund} from "./interfaces/ICommunityFund.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title CommunityFund
/// @notice No owner and no setting. Rules and guarantees: {ICommunityFund}.
contract CommunityFund is ICommunityFund, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    Beneficiary[] private _beneficiaries;
    /// @inheritdoc ICommunityFund
    mapping(address asset => mapping(uint256 index => uint256)) public paid;
    mapping(address asset => uint256) private _paidInAll;

    constructor(Beneficiary[] memory beneficiaries) {
        if (beneficiaries.length == 0) revert CommunityFund_NoBeneficiaries();
        uint256 sumBps;
        for (uint256 i; i < beneficiaries.length; ++i) {
            Beneficiary memory named = beneficiaries[i];
            if (named.account == address(0) || named.account == address(this) || named.bps == 0) {
                revert CommunityFund_BadBeneficiary(i, named.account, named.bps);
            }
            for (uint256 j; j < i; ++j) {
                if (beneficiaries[j].account == named.account) revert CommunityFund_BeneficiaryTwice(named.account);
            }
            sumBps += named.bps;
            _beneficiaries.push(named);
            emit BeneficiaryNamed(i, named.account, named.bps, named.name);
        }
        if (sumBps != MoneyMath.BPS) revert CommunityFund_PartsNotWhole(sumBps);
    }

    /// @inheritdoc ICommunityFund
    function pay(address asset, uint256 index) external nonReentrant returns (uint256 amount) {
        amount = owed(asset, index);
        if (amount == 0) revert CommunityFund_NothingToPay(asset, index);
        address account = _beneficiaries[index].account;
        paid[asset][index] += amount;
        _paidInAll[asset] += amount;
        emit BeneficiaryPaid(index, asset, account, amount);
        IERC20(asset).safeTransfer(account, amount);
    }

    /// @inheritdoc ICommunityFund
    function owed(address asset, uint256 index) public view returns (uint256) {
        if (index >= _beneficiaries.length) revert CommunityFund_UnknownBeneficiary(index);
        uint256 earned = MoneyMath.mulDivDown(received(asset), _beneficiaries[index].bps, MoneyMath.BPS);
        uint256 taken = paid[asset][index];
        // A token whose balances shrink by themselves has then paid too much: nothing is owed until it made up for it.
        return earned > taken ? earned - taken : 0;
    }

    /// @inheritdoc ICommunityFund
    function received(address asset) public view returns (uint256) {
        return IERC20(asset).balanceOf(address(this)) + _paidInAll[asset];
    }

    /// @inheritdoc ICommunityFund
    function beneficiaryCount() external view returns (uint256) {
        return _beneficiaries.length;
    }

    /// @inheritdoc ICommunityFund
    function beneficiary(uint256 index) external view returns (Beneficiary memory) {
        if (index >= _beneficiaries.length) revert CommunityFund_UnknownBeneficiary(index);
        return _beneficiaries[index];
    }
}
