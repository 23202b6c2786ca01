// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IReceiveWithAuthorization} from "./interfaces/IReceiveWithAuthorization.sol";
import {IRoyaltyEscrow} from "./interfaces/IRoyaltyEscrow.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {IUsageChallenges} from "./interfaces/IUsageChallenges.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {IWindDown} from "./interfaces/IWindDown.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {LicensePricing} from "./types/License.sol";
import {ReportLine} from "./types/Report.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title RoyaltyEscrow
/// @notice Holds buyers' money until a report draws it. Rules and guarantees: {IRoyaltyEscrow}.
contract RoyaltyEscrow is IRoyaltyEscrow, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev An Account in three slots, the first of which also knows of lines that hold nothing: their units may be
    /// due once they are final.
    struct Ledger {
        uint96 available;
        uint96 reserved;
        bool linePending;
        uint96 charged;
        uint128 cumulativeUnits;
        uint96 deposited;
        uint96 withdrawn;
    }

    /// @dev The registry's, which never change, copied once: reading a neighbor's slot costs several of one's own. A
    /// license has a cap above 0, so a cap of 0 means not copied yet.
    struct Terms {
        uint96 pricePerMillionUnits;
        uint96 maxChargePerEpoch;
        uint16 contributorsBps;
    }

    /// @inheritdoc IRoyaltyEscrow
    address public immutable token;
    /// @inheritdoc IRoyaltyEscrow
    address public immutable registry;
    /// @inheritdoc IRoyaltyEscrow
    address public immutable settlement;
    /// @inheritdoc IRoyaltyEscrow
    address public immutable splitter;
    /// @inheritdoc IRoyaltyEscrow
    address public immutable challenges;
    /// @inheritdoc IRoyaltyEscrow
    address public immutable windDown;
    /// @inheritdoc IRoyaltyEscrow
    uint32 public immutable maxMergeDelaySeconds;

    mapping(uint32 licenseId => Ledger) private _ledgers;
    mapping(uint32 licenseId => Terms) private _terms;

    modifier onlySettlement() {
        if (msg.sender != settlement) revert RoyaltyEscrow_OnlySettlement(msg.sender);
        _;
    }

    constructor(
        address token_,
        address registry_,
        address settlement_,
        address splitter_,
        address challenges_,
        address windDown_,
        uint32 maxMergeDelaySeconds_
    ) {
        if (registry_ == address(0)) revert RoyaltyEscrow_ZeroAddress("registry");
        if (settlement_ == address(0)) revert RoyaltyEscrow_ZeroAddress("settlement");
        if (splitter_ == address(0)) revert RoyaltyEscrow_ZeroAddress("splitter");
        if (challenges_ == address(0)) revert RoyaltyEscrow_ZeroAddress("challenges");
        if (windDown_ == address(0)) revert RoyaltyEscrow_ZeroAddress("windDown");
        address expected = ILicenseRegistry(registry_).token();
        if (token_ != expected) revert RoyaltyEscrow_WrongToken(token_, expected);
        token = token_;
        registry = registry_;
        settlement = settlement_;
        splitter = splitter_;
        challenges = challenges_;
        windDown = windDown_;
        maxMergeDelaySeconds = maxMergeDelaySeconds_;
    }

    /// @inheritdoc IRoyaltyEscrow
    function deposit(uint32 licenseId, uint96 amount) external nonReentrant {
        _depositFromSender(licenseId, amount);
    }

    /// @inheritdoc IRoyaltyEscrow
    function depositWithPermit(uint32 licenseId, uint96 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        // Whoever saw the permit may have submitted it first. What counts is the allowance, checked by the transfer.
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _depositFromSender(licenseId, amount);
    }

    /// @inheritdoc IRoyaltyEscrow
    function depositWithAuthorization(
        uint32 licenseId,
        address from,
        uint96 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        uint256 balanceBefore = _openDeposit(licenseId, amount);
        IReceiveWithAuthorization(token).receiveWithAuthorization(
            from, address(this), amount, validAfter, validBefore, keccak256(abi.encode(licenseId, salt)), v, r, s
        );
        _bookDeposit(licenseId, from, amount, balanceBefore);
    }

    /// @inheritdoc IRoyaltyEscrow
    function reserve(ReportLine[] calldata lines) external onlySettlement returns (uint256 contributorsShare) {
        for (uint256 i; i < lines.length; ++i) {
            ReportLine memory line = lines[i];
            Ledger storage acct = _ledgers[line.licenseId];
            Terms memory terms = _termsOf(line.licenseId);
            uint96 charged = acct.charged;
            _requireOwed(acct, charged, terms, line);
            acct.available -= line.charge;
            acct.reserved += line.charge;
            acct.linePending = true;
            contributorsShare += MoneyMath.growthUp(charged, charged + line.charge, terms.contributorsBps);
        }
    }

    /// @inheritdoc IRoyaltyEscrow
    function release(ReportLine[] calldata lines) external onlySettlement {
        for (uint256 i; i < lines.length; ++i) {
            ReportLine memory line = lines[i];
            Ledger storage acct = _ledgers[line.licenseId];
            acct.reserved -= line.charge;
            acct.available += line.charge;
            acct.linePending = false;
        }
    }

    /// @inheritdoc IRoyaltyEscrow
    function draw(ReportLine[] calldata lines) external onlySettlement nonReentrant {
        uint256 drawn;
        for (uint256 i; i < lines.length; ++i) {
            ReportLine memory line = lines[i];
            Ledger storage acct = _ledgers[line.licenseId];
            uint96 charged = acct.charged + line.charge;
            acct.reserved -= line.charge;
            acct.linePending = false;
            acct.charged = charged;
            acct.cumulativeUnits = line.cumulativeUnits;
            drawn += line.charge;
            emit Charged(line.licenseId, line.cumulativeUnits, line.charge, charged);
        }
        if (drawn == 0) return;
        _sendToSplitter(drawn);
        IRoyaltySplitter(splitter).accrue(lines);
    }

    /// @inheritdoc IRoyaltyEscrow
    function drawLate(uint32 licenseId, uint128 cumulativeUnits, uint256 allowance)
        external
        nonReentrant
        returns (uint96 charge)
    {
        if (msg.sender != windDown) revert RoyaltyEscrow_OnlyWindDown(msg.sender);
        Ledger storage acct = _ledgers[licenseId];
        uint128 committed = acct.cumulativeUnits;
        if (cumulativeUnits < committed) revert RoyaltyEscrow_UnitsFell(licenseId, committed, cumulativeUnits);
        uint256 owed = MoneyMath.due(cumulativeUnits, _termsOf(licenseId).pricePerMillionUnits, acct.charged);
        charge = uint96(Math.min(Math.min(owed, acct.available), allowance));
        uint96 charged = acct.charged + charge;
        acct.available -= charge;
        acct.charged = charged;
        acct.cumulativeUnits = cumulativeUnits;
        emit Charged(licenseId, cumulativeUnits, charge, charged);
        if (charge == 0) return 0;
        _sendToSplitter(charge);
        ReportLine[] memory lines = new ReportLine[](1);
        lines[0] = ReportLine(licenseId, cumulativeUnits, charge);
        IRoyaltySplitter(splitter).accrue(lines);
    }

    /// @inheritdoc IRoyaltyEscrow
    function withdraw(uint32 licenseId, uint96 amount, address to) external nonReentrant {
        address buyer = ILicenseRegistry(registry).license(licenseId).buyer;
        if (msg.sender != buyer) revert RoyaltyEscrow_NotBuyer(licenseId, msg.sender);
        if (amount == 0) revert RoyaltyEscrow_ZeroAmount();
        if (to == address(0)) revert RoyaltyEscrow_ZeroRecipient();
        // After the wind-down no report will ever cover or draw anything: what was not settled in time goes back.
        if (!IWindDown(windDown).refundsOpen()) _requireSettled(licenseId);
        Ledger storage acct = _ledgers[licenseId];
        if (amount > acct.available) revert RoyaltyEscrow_InsufficientBalance(licenseId, acct.available, amount);

        acct.available -= amount;
        acct.withdrawn += amount;
        emit Withdrawn(licenseId, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IRoyaltyEscrow
    function account(uint32 licenseId) external view returns (Account memory) {
        Ledger memory acct = _ledgers[licenseId];
        return Account({
            available: acct.available,
            reserved: acct.reserved,
            charged: acct.charged,
            cumulativeUnits: acct.cumulativeUnits,
            deposited: acct.deposited,
            withdrawn: acct.withdrawn
        });
    }

    /// @inheritdoc IRoyaltyEscrow
    function due(uint32 licenseId) public view returns (uint256) {
        Ledger storage acct = _ledgers[licenseId];
        uint256 price = ILicenseRegistry(registry).pricing(licenseId).pricePerMillionUnits;
        return MoneyMath.due(acct.cumulativeUnits, price, acct.charged);
    }

    /// @inheritdoc IRoyaltyEscrow
    function chargeable(uint32 licenseId) external view returns (uint96) {
        (uint256 coveredUntil, uint256 neededUntil) = _coverage(licenseId);
        Ledger storage acct = _ledgers[licenseId];
        if (coveredUntil >= neededUntil && !acct.linePending && due(licenseId) == 0) return 0;
        uint96 cap = ILicenseRegistry(registry).pricing(licenseId).maxChargePerEpoch;
        return acct.available < cap ? acct.available : cap;
    }

    function _depositFromSender(uint32 licenseId, uint96 amount) private {
        uint256 balanceBefore = _openDeposit(licenseId, amount);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        _bookDeposit(licenseId, msg.sender, amount, balanceBefore);
    }

    /// @dev Reverts for a license that does not exist.
    function _termsOf(uint32 licenseId) private returns (Terms memory terms) {
        terms = _terms[licenseId];
        if (terms.maxChargePerEpoch != 0) return terms;
        LicensePricing memory pricing = ILicenseRegistry(registry).pricing(licenseId);
        terms = Terms(pricing.pricePerMillionUnits, pricing.maxChargePerEpoch, MoneyMath.contributorsBps(pricing));
        _terms[licenseId] = terms;
    }

    /// @dev Refuses what must not cost anybody money: nothing, or money for a license that does not exist.
    function _openDeposit(uint32 licenseId, uint96 amount) private returns (uint256 balanceBefore) {
        if (amount == 0) revert RoyaltyEscrow_ZeroAmount();
        _termsOf(licenseId);
        return IERC20(token).balanceOf(address(this));
    }

    function _bookDeposit(uint32 licenseId, address from, uint96 amount, uint256 balanceBefore) private {
        _requireDelta(address(this), balanceBefore, amount);
        Ledger storage acct = _ledgers[licenseId];
        // No part of an account exceeds what was ever deposited, so this is the one place where a sum can be too big.
        uint256 deposited = uint256(acct.deposited) + amount;
        if (deposited > type(uint96).max) revert RoyaltyEscrow_BalanceTooLarge(licenseId, deposited);
        acct.deposited = uint96(deposited);
        acct.available += amount;
        emit Deposited(licenseId, from, amount);
    }

    function _sendToSplitter(uint256 amount) private {
        uint256 balanceBefore = IERC20(token).balanceOf(splitter);
        IERC20(token).safeTransfer(splitter, amount);
        _requireDelta(splitter, balanceBefore, amount);
    }

    /// @dev The token's word is not enough: a fee on transfer would leave somebody's money without cover.
    function _requireDelta(address holder, uint256 balanceBefore, uint256 expected) private view {
        uint256 balance = IERC20(token).balanceOf(holder);
        uint256 received = balance > balanceBefore ? balance - balanceBefore : 0;
        if (received != expected) revert RoyaltyEscrow_WrongDelta(expected, received);
    }

    /// @return coveredUntil Up to when finalized reports count usage.
    /// @return neededUntil From when on no receipt of this license can still be on its way.
    function _coverage(uint32 licenseId) private view returns (uint256 coveredUntil, uint256 neededUntil) {
        coveredUntil = IUsageSettlement(settlement).state().lastPeriodEnd;
        neededUntil = uint256(ILicenseRegistry(registry).license(licenseId).endsAt) + maxMergeDelaySeconds;
    }

    /// @dev That nothing can be charged, or proven against the buyer, any more.
    function _requireSettled(uint32 licenseId) private view {
        (uint256 coveredUntil, uint256 neededUntil) = _coverage(licenseId);
        if (coveredUntil < neededUntil) revert RoyaltyEscrow_NotCovered(licenseId, coveredUntil, neededUntil);
        Ledger storage acct = _ledgers[licenseId];
        if (acct.linePending) revert RoyaltyEscrow_LinePending(licenseId, acct.reserved);
        uint256 owed = due(licenseId);
        if (owed != 0) revert RoyaltyEscrow_StillDue(licenseId, owed);
        uint256 open = IUsageChallenges(challenges).openAgainst(licenseId);
        if (open != 0) revert RoyaltyEscrow_ChallengeOpen(licenseId, open);
    }

    /// @dev That a line's units did not fall, and that its charge is within what is due, available and capped.
    function _requireOwed(Ledger storage acct, uint96 charged, Terms memory terms, ReportLine memory line)
        private
        view
    {
        uint128 committed = acct.cumulativeUnits;
        if (line.cumulativeUnits < committed) {
            revert RoyaltyEscrow_UnitsFell(line.licenseId, committed, line.cumulativeUnits);
        }
        uint256 owed = MoneyMath.due(line.cumulativeUnits, terms.pricePerMillionUnits, charged);
        uint96 available = acct.available;
        uint96 cap = terms.maxChargePerEpoch;
        if (line.charge > owed || line.charge > available || line.charge > cap) {
            revert RoyaltyEscrow_ChargeTooHigh(line.licenseId, line.charge, owed, available, cap);
        }
    }
}
