// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IOperatorBonds} from "./interfaces/IOperatorBonds.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title OperatorBonds
/// @notice What signers lose when it is proven that they signed what they must not. Rules and guarantees:
/// {IOperatorBonds}.
contract OperatorBonds is IOperatorBonds, AccessManaged, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev Longer than any report can be disputed and any answer be waited for.
    uint256 private constant MIN_THAW_SECONDS = 90 days;
    uint96 private constant REWARD_DIVISOR = 10;

    /// @inheritdoc IOperatorBonds
    address public immutable token;
    /// @inheritdoc IOperatorBonds
    address public immutable disputes;
    /// @inheritdoc IOperatorBonds
    address public immutable challenges;
    /// @inheritdoc IOperatorBonds
    address public immutable remediationFund;
    /// @inheritdoc IOperatorBonds
    uint32 public immutable thawSeconds;

    /// @inheritdoc IOperatorBonds
    uint96 public minimumBond;
    /// @inheritdoc IOperatorBonds
    mapping(address account => uint256) public credit;
    mapping(address signer => Bond) private _bonds;

    constructor(
        address authority,
        address token_,
        address disputes_,
        address challenges_,
        address remediationFund_,
        uint32 thawSeconds_,
        uint96 minimumBond_
    ) AccessManaged(authority) {
        if (authority == address(0)) revert OperatorBonds_ZeroAddress("authority");
        if (token_ == address(0)) revert OperatorBonds_ZeroAddress("token");
        if (disputes_ == address(0)) revert OperatorBonds_ZeroAddress("disputes");
        if (challenges_ == address(0)) revert OperatorBonds_ZeroAddress("challenges");
        if (remediationFund_ == address(0)) revert OperatorBonds_ZeroAddress("remediationFund");
        if (thawSeconds_ < MIN_THAW_SECONDS) revert OperatorBonds_ThawTooShort(thawSeconds_, MIN_THAW_SECONDS);
        token = token_;
        disputes = disputes_;
        challenges = challenges_;
        remediationFund = remediationFund_;
        thawSeconds = thawSeconds_;
        _setMinimumBond(minimumBond_);
    }

    /// @inheritdoc IOperatorBonds
    function deposit(address signer, uint96 amount) external nonReentrant {
        if (signer == address(0)) revert OperatorBonds_ZeroSigner();
        if (amount == 0) revert OperatorBonds_ZeroAmount();
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 received = balance > balanceBefore ? balance - balanceBefore : 0;
        if (received != amount) revert OperatorBonds_WrongDelta(amount, received);

        Bond storage held = _bonds[signer];
        uint256 total = uint256(held.bonded) + held.thawing + amount;
        if (total > type(uint96).max) revert OperatorBonds_BondTooLarge(signer, total);
        held.bonded += amount;
        emit BondDeposited(signer, msg.sender, amount);
    }

    /// @inheritdoc IOperatorBonds
    function thaw(uint96 amount) external {
        if (amount == 0) revert OperatorBonds_ZeroAmount();
        Bond storage held = _bonds[msg.sender];
        if (amount > held.bonded) revert OperatorBonds_InsufficientBond(msg.sender, held.bonded, amount);
        held.bonded -= amount;
        held.thawing += amount;
        held.thawedAt = uint48(block.timestamp + thawSeconds);
        emit ThawStarted(msg.sender, amount, held.thawing, held.thawedAt);
    }

    /// @inheritdoc IOperatorBonds
    function cancelThaw() external {
        Bond storage held = _bonds[msg.sender];
        uint96 amount = _endThaw(held);
        held.bonded += amount;
        emit ThawCanceled(msg.sender, amount);
    }

    /// @inheritdoc IOperatorBonds
    function withdraw(address to) external nonReentrant {
        if (to == address(0)) revert OperatorBonds_ZeroRecipient();
        Bond storage held = _bonds[msg.sender];
        if (block.timestamp < held.thawedAt) revert OperatorBonds_StillThawing(held.thawedAt, block.timestamp);
        uint96 amount = _endThaw(held);
        emit BondWithdrawn(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IOperatorBonds
    function slash(address signer, address reporter) external returns (uint96 slashed) {
        if (msg.sender != disputes && msg.sender != challenges) revert OperatorBonds_OnlyProofs(msg.sender);
        Bond storage held = _bonds[signer];
        slashed = held.bonded + held.thawing;
        if (slashed == 0) return 0;
        delete _bonds[signer];
        uint96 reward = reporter == address(0) ? 0 : slashed / REWARD_DIVISOR;
        credit[reporter] += reward;
        credit[remediationFund] += slashed - reward;
        emit BondSlashed(signer, msg.sender, reporter, slashed, reward);
    }

    /// @inheritdoc IOperatorBonds
    function payCredit(address account) external nonReentrant returns (uint256 amount) {
        amount = credit[account];
        if (amount == 0) revert OperatorBonds_NoCredit(account);
        delete credit[account];
        emit CreditPaid(account, amount);
        IERC20(token).safeTransfer(account, amount);
    }

    /// @inheritdoc IOperatorBonds
    function setMinimumBond(uint96 amount) external restricted {
        _setMinimumBond(amount);
    }

    /// @inheritdoc IOperatorBonds
    function bond(address signer) external view returns (Bond memory) {
        return _bonds[signer];
    }

    /// @inheritdoc IOperatorBonds
    function bonded(address signer) external view returns (uint96) {
        return _bonds[signer].bonded;
    }

    function _endThaw(Bond storage held) private returns (uint96 amount) {
        amount = held.thawing;
        if (amount == 0) revert OperatorBonds_NothingThawing(msg.sender);
        held.thawing = 0;
        held.thawedAt = 0;
    }

    function _setMinimumBond(uint96 amount) private {
        minimumBond = amount;
        emit MinimumBondSet(amount);
    }
}
