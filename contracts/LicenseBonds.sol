// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseBonds} from "./interfaces/ILicenseBonds.sol";
import {ILicenseFees} from "./interfaces/ILicenseFees.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRemovalDuties} from "./interfaces/IRemovalDuties.sol";
import {IUsageChallenges} from "./interfaces/IUsageChallenges.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {IWindDown} from "./interfaces/IWindDown.sol";
import {License} from "./types/License.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title LicenseBonds
/// @notice Σ bonds + Σ credits <= its token balance, always. Rules and guarantees: {ILicenseBonds}.
contract LicenseBonds is ILicenseBonds, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 private constant REWARD_PARTS = 10;

    /// @dev One slot. `agreed` is above 0 for a bond that was collected.
    struct Bond {
        uint96 held;
        uint96 agreed;
    }

    /// @inheritdoc ILicenseBonds
    address public immutable token;
    /// @inheritdoc ILicenseBonds
    address public immutable registry;
    /// @inheritdoc ILicenseBonds
    address public immutable settlement;
    /// @inheritdoc ILicenseBonds
    address public immutable challenges;
    /// @inheritdoc ILicenseBonds
    address public immutable duties;
    /// @inheritdoc ILicenseBonds
    address public immutable remediationFund;
    /// @inheritdoc ILicenseBonds
    uint32 public immutable maxMergeDelaySeconds;

    mapping(uint32 licenseId => Bond) private _bonds;
    /// @inheritdoc ILicenseBonds
    mapping(address account => uint256) public credit;

    constructor(
        address token_,
        address registry_,
        address settlement_,
        address challenges_,
        address duties_,
        address remediationFund_,
        uint32 maxMergeDelaySeconds_
    ) {
        if (registry_ == address(0)) revert LicenseBonds_ZeroAddress("registry");
        if (settlement_ == address(0)) revert LicenseBonds_ZeroAddress("settlement");
        if (challenges_ == address(0)) revert LicenseBonds_ZeroAddress("challenges");
        if (duties_ == address(0)) revert LicenseBonds_ZeroAddress("duties");
        if (remediationFund_ == address(0)) revert LicenseBonds_ZeroAddress("remediationFund");
        address expected = ILicenseRegistry(registry_).token();
        if (token_ != expected) revert LicenseBonds_WrongToken(token_, expected);
        token = token_;
        registry = registry_;
        settlement = settlement_;
        challenges = challenges_;
        duties = duties_;
        remediationFund = remediationFund_;
        maxMergeDelaySeconds = maxMergeDelaySeconds_;
    }

    /// @inheritdoc ILicenseBonds
    function collect(uint32 licenseId, address from, uint96 amount) external nonReentrant {
        if (msg.sender != registry) revert LicenseBonds_OnlyRegistry(msg.sender);
        if (_bonds[licenseId].agreed != 0) revert LicenseBonds_AlreadyCollected(licenseId);
        _bonds[licenseId] = Bond({held: amount, agreed: amount});
        emit BondCollected(licenseId, from, amount);

        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(from, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - balanceBefore;
        if (received != amount) revert LicenseBonds_WrongDelta(amount, received);
    }

    /// @inheritdoc ILicenseBonds
    function slash(uint32 licenseId, uint96 amount, address reporter) external nonReentrant returns (uint96 slashed) {
        if (msg.sender != challenges && msg.sender != duties) revert LicenseBonds_OnlySlashers(msg.sender);
        uint96 held = _bonds[licenseId].held;
        slashed = amount < held ? amount : held;
        uint96 reward = reporter == address(0) ? 0 : slashed / uint96(REWARD_PARTS);
        _bonds[licenseId].held = held - slashed;
        credit[reporter] += reward;
        credit[remediationFund] += slashed - reward;
        emit BondSlashed(licenseId, reporter, slashed, reward);
    }

    /// @inheritdoc ILicenseBonds
    function withdraw(uint32 licenseId, address to) external nonReentrant {
        License memory found = ILicenseRegistry(registry).license(licenseId);
        if (msg.sender != found.buyer) revert LicenseBonds_NotBuyer(licenseId, msg.sender);
        if (to == address(0)) revert LicenseBonds_ZeroRecipient();
        uint256 open = IUsageChallenges(challenges).openAgainst(licenseId);
        if (open != 0) revert LicenseBonds_ChallengeOpen(licenseId, open);
        open = IRemovalDuties(duties).openFor(licenseId);
        if (open != 0) revert LicenseBonds_DutyOpen(licenseId, open);
        if (!IWindDown(IUsageSettlement(settlement).windDown()).refundsOpen()) _requireOver(licenseId, found.endsAt);

        uint96 amount = _bonds[licenseId].held;
        if (amount == 0) revert LicenseBonds_NothingLeft(licenseId);
        _bonds[licenseId].held = 0;
        emit BondWithdrawn(licenseId, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc ILicenseBonds
    function withdrawCredit(address to) external nonReentrant {
        if (to == address(0)) revert LicenseBonds_ZeroRecipient();
        _payCredit(msg.sender, to);
    }

    /// @inheritdoc ILicenseBonds
    function payCredit(address account) external nonReentrant {
        _payCredit(account, account);
    }

    /// @inheritdoc ILicenseBonds
    function bond(uint32 licenseId) external view returns (uint96) {
        return _bonds[licenseId].held;
    }

    /// @inheritdoc ILicenseBonds
    function agreedBond(uint32 licenseId) external view returns (uint96) {
        return _bonds[licenseId].agreed;
    }

    /// @inheritdoc ILicenseBonds
    function releasableAt(uint32 licenseId) external view returns (uint256) {
        return _releasableAt(ILicenseRegistry(registry).license(licenseId).endsAt);
    }

    function _payCredit(address account, address to) private {
        uint256 amount = credit[account];
        if (amount == 0) revert LicenseBonds_NoCredit(account);
        credit[account] = 0;
        emit CreditPaid(account, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    function _requireOver(uint32 licenseId, uint256 endsAt) private view {
        uint256 over = _releasableAt(endsAt);
        if (block.timestamp < over) revert LicenseBonds_TooEarly(licenseId, over, block.timestamp);
        uint256 covered = IUsageSettlement(settlement).state().lastPeriodEnd;
        uint256 needed = endsAt + maxMergeDelaySeconds;
        if (covered < needed) revert LicenseBonds_NotCovered(licenseId, covered, needed);
        if (!ILicenseFees(ILicenseRegistry(registry).fees()).royaltySettled(licenseId)) {
            revert LicenseBonds_RoyaltyOwed(licenseId);
        }
    }

    /// @dev Later than the last moment at which a challenge can be opened, and answered in time.
    function _releasableAt(uint256 endsAt) private view returns (uint256) {
        IUsageChallenges judge = IUsageChallenges(challenges);
        return endsAt + maxMergeDelaySeconds + judge.evidenceHorizonSeconds() + judge.answerSeconds();
    }
}
