// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {FeePurse} from "./FeePurse.sol";
import {ICouncilRegister} from "../interfaces/ICouncilRegister.sol";
import {ILicenseFees} from "../interfaces/ILicenseFees.sol";
import {MoneyMath} from "../libraries/MoneyMath.sol";
import {AuditCorrection, RevenueStatement, RoyaltyTerms} from "../types/Consideration.sol";
import {LicenseOffer} from "../types/License.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title The part of LicenseFees that keeps royalties on declared revenue
/// @notice Period p ends at firstPeriodEnd + p * periodSeconds and exists if it begins before the license ends. Owed is
/// ⌈revenue * revenueBps / 10⁴⌉ less what was paid. What is paid after end + graceSeconds costs a penalty on top, of
/// latePenaltyBps for each started period of lateness and never more than itself: no debt has to be kept growing.
abstract contract Royalties is FeePurse {
    bytes32 private constant STATEMENT_TYPEHASH =
        keccak256("RevenueStatement(uint32 licenseId,uint32 period,uint96 revenue,bytes32 documentHash)");
    bytes32 private constant CORRECTION_TYPEHASH = keccak256(
        "AuditCorrection(uint32 licenseId,uint32 period,uint96 revenue,uint32 revision,bytes32 findingHash)"
    );
    uint256 private constant MIN_PERIOD_SECONDS = 1 days;

    /// @dev Opened terms have revenueBps above 0.
    struct Royalty {
        uint32 stated;
        uint32 unpaid;
        RoyaltyTerms terms;
    }

    /// @inheritdoc ILicenseFees
    address public immutable councilRegister;
    mapping(uint32 licenseId => Royalty) private _royalties;
    mapping(uint32 licenseId => mapping(uint32 period => RoyaltyPeriod)) private _periods;

    constructor(address councilRegister_) {
        if (councilRegister_ == address(0)) revert LicenseFees_ZeroAddress("councilRegister");
        councilRegister = councilRegister_;
    }

    /// @inheritdoc ILicenseFees
    function openRoyalty(uint32 licenseId, LicenseOffer calldata offer, RoyaltyTerms calldata terms) external {
        Royalty storage royalty = _royalties[licenseId];
        if (royalty.terms.revenueBps != 0) revert LicenseFees_AlreadyOpened(licenseId);
        _requireOffer(licenseId, offer);
        bytes32 hash = keccak256(abi.encode(terms));
        if (hash != offer.royaltyHash) revert LicenseFees_WrongTerms(licenseId, hash, offer.royaltyHash);
        if (
            terms.revenueBps == 0 || terms.revenueBps > MoneyMath.BPS || terms.periodSeconds < MIN_PERIOD_SECONDS
                || terms.firstPeriodEnd <= _license(licenseId).acceptedAt
        ) revert LicenseFees_BadRoyaltyTerms();
        royalty.terms = terms;
        emit RoyaltyOpened(licenseId, terms);
    }

    /// @inheritdoc ILicenseFees
    function stateRevenue(RevenueStatement calldata statement, bytes calldata signature) external {
        (uint32 licenseId, uint32 period) = (statement.licenseId, statement.period);
        Royalty storage royalty = _opened(licenseId);
        _requireOver(royalty, licenseId, period);
        address buyer = _license(licenseId).buyer;
        if (msg.sender != buyer) {
            bytes32 digest = hashRevenueStatement(statement);
            if (!SignatureChecker.isValidSignatureNow(buyer, digest, signature)) {
                revert LicenseFees_BadStatement(buyer, digest);
            }
        }
        RoyaltyPeriod storage found = _periods[licenseId][period];
        if (period < royalty.stated && statement.revenue <= found.stated) {
            revert LicenseFees_StatementNotHigher(licenseId, period, found.stated, statement.revenue);
        }
        bool wasUnpaid = _unpaid(royalty, found) != 0;
        if (period == royalty.stated) ++royalty.stated;
        found.stated = statement.revenue;
        _countUnpaid(royalty, found, wasUnpaid);
        emit RevenueStated(licenseId, period, statement.revenue, statement.documentHash);
    }

    /// @inheritdoc ILicenseFees
    function correctRevenue(AuditCorrection calldata correction, address auditor, bytes calldata signature) external {
        (uint32 licenseId, uint32 period) = (correction.licenseId, correction.period);
        Royalty storage royalty = _opened(licenseId);
        _requireOver(royalty, licenseId, period);
        _requireAuditor(royalty, licenseId, auditor);
        bytes32 digest = hashAuditCorrection(correction);
        if (!SignatureChecker.isValidSignatureNow(auditor, digest, signature)) {
            revert LicenseFees_BadCorrection(auditor, digest);
        }
        RoyaltyPeriod storage found = _periods[licenseId][period];
        if (correction.revision <= found.revision) {
            revert LicenseFees_StaleCorrection(licenseId, period, correction.revision);
        }
        bool wasUnpaid = _unpaid(royalty, found) != 0;
        if (period == royalty.stated) {
            // The buyer has until then to speak first.
            uint256 payableUntil = _endOf(royalty.terms, period) + royalty.terms.graceSeconds;
            if (block.timestamp <= payableUntil) revert LicenseFees_StatementMissing(licenseId, period, period);
            ++royalty.stated;
        }
        found.corrected = correction.revenue;
        found.revision = correction.revision;
        _countUnpaid(royalty, found, wasUnpaid);
        emit RevenueCorrected(
            licenseId, period, auditor, correction.revenue, correction.revision, correction.findingHash
        );
    }

    /// @inheritdoc ILicenseFees
    function payRoyalty(uint32 licenseId, uint32 period, uint96 most)
        external
        nonReentrant
        returns (uint96 paid, uint96 penalty)
    {
        if (most == 0) revert LicenseFees_ZeroAmount();
        Royalty storage royalty = _opened(licenseId);
        RoyaltyPeriod storage found = _periods[licenseId][period];
        uint256 owed = _unpaid(royalty, found);
        if (owed == 0) revert LicenseFees_NothingOwed(licenseId, period);
        paid = owed < most ? uint96(owed) : most;
        uint256 onTop = _penalty(royalty.terms, period, paid);
        uint256 payment = paid + onTop;
        if (payment > type(uint96).max) revert LicenseFees_PaymentTooLarge(payment);
        penalty = uint96(onTop);
        found.paid += paid;
        found.penalties += penalty;
        _countUnpaid(royalty, found, true);
        emit RoyaltyPaid(licenseId, period, msg.sender, paid, penalty);
        _passOn(licenseId, msg.sender, uint96(payment));
    }

    /// @inheritdoc ILicenseFees
    function royaltyOwed(uint32 licenseId, uint32 period) external view returns (uint256 royalty, uint256 penalty) {
        Royalty storage opened = _opened(licenseId);
        royalty = _unpaid(opened, _periods[licenseId][period]);
        penalty = _penalty(opened.terms, period, royalty);
    }

    /// @inheritdoc ILicenseFees
    function royaltySettled(uint32 licenseId) external view returns (bool) {
        Royalty storage royalty = _royalties[licenseId];
        if (royalty.terms.revenueBps == 0 || _cooledOff(licenseId)) return true;
        return royalty.unpaid == 0 && royalty.stated >= _periodCount(royalty, licenseId);
    }

    /// @inheritdoc ILicenseFees
    function royaltyPeriodCount(uint32 licenseId) external view returns (uint256) {
        return _periodCount(_opened(licenseId), licenseId);
    }

    /// @inheritdoc ILicenseFees
    function royaltyProgress(uint32 licenseId) external view returns (uint32 stated, uint32 unpaid) {
        Royalty storage royalty = _royalties[licenseId];
        return (royalty.stated, royalty.unpaid);
    }

    /// @inheritdoc ILicenseFees
    function royaltyTerms(uint32 licenseId) external view returns (RoyaltyTerms memory) {
        return _opened(licenseId).terms;
    }

    /// @inheritdoc ILicenseFees
    function royaltyPeriod(uint32 licenseId, uint32 period) external view returns (RoyaltyPeriod memory) {
        return _periods[licenseId][period];
    }

    /// @inheritdoc ILicenseFees
    function hashRevenueStatement(RevenueStatement calldata statement) public view returns (bytes32 digest) {
        return _hashTypedDataV4(keccak256(abi.encode(STATEMENT_TYPEHASH, statement)));
    }

    /// @inheritdoc ILicenseFees
    function hashAuditCorrection(AuditCorrection calldata correction) public view returns (bytes32 digest) {
        return _hashTypedDataV4(keccak256(abi.encode(CORRECTION_TYPEHASH, correction)));
    }

    /// @dev Keep the number of unpaid periods in step with one period that changed.
    function _countUnpaid(Royalty storage royalty, RoyaltyPeriod storage found, bool wasUnpaid) private {
        bool isUnpaid = _unpaid(royalty, found) != 0;
        if (isUnpaid && !wasUnpaid) ++royalty.unpaid;
        if (wasUnpaid && !isUnpaid) --royalty.unpaid;
    }

    function _opened(uint32 licenseId) private view returns (Royalty storage royalty) {
        royalty = _royalties[licenseId];
        if (royalty.terms.revenueBps == 0) revert LicenseFees_NotOpened(licenseId);
    }

    /// @dev That a period exists, is over, and that all earlier ones are stated.
    function _requireOver(Royalty storage royalty, uint32 licenseId, uint32 period) private view {
        uint256 count = _periodCount(royalty, licenseId);
        if (period >= count) revert LicenseFees_NoSuchPeriod(licenseId, period, count);
        uint256 endsAt = _endOf(royalty.terms, period);
        if (block.timestamp < endsAt) revert LicenseFees_PeriodNotOver(licenseId, period, endsAt);
        if (period > royalty.stated) revert LicenseFees_StatementMissing(licenseId, royalty.stated, period);
    }

    function _requireAuditor(Royalty storage royalty, uint32 licenseId, address auditor) private view {
        address named = royalty.terms.auditor;
        bool trusted = named == address(0) ? ICouncilRegister(councilRegister).isAuditor(auditor) : auditor == named;
        if (!trusted) revert LicenseFees_NotAuditor(licenseId, auditor);
    }

    /// @dev Period 0 always begins before the license ends; it begins with the license.
    function _periodCount(Royalty storage royalty, uint32 licenseId) private view returns (uint256) {
        if (_cooledOff(licenseId)) return 0;
        uint256 licenseEnd = _license(licenseId).endsAt;
        uint256 firstEnd = royalty.terms.firstPeriodEnd;
        if (licenseEnd <= firstEnd) return 1;
        return 1 + (licenseEnd - firstEnd + royalty.terms.periodSeconds - 1) / royalty.terms.periodSeconds;
    }

    /// @dev What is owed for a period and not paid; an auditor who lowers a finding below what was paid claims nothing
    /// back.
    function _unpaid(Royalty storage royalty, RoyaltyPeriod storage found) private view returns (uint256) {
        uint256 revenue = found.stated > found.corrected ? found.stated : found.corrected;
        uint256 owed = MoneyMath.mulDivUp(revenue, royalty.terms.revenueBps, MoneyMath.BPS);
        return owed > found.paid ? owed - found.paid : 0;
    }

    function _penalty(RoyaltyTerms storage terms, uint32 period, uint256 royalty) private view returns (uint256) {
        uint256 payableUntil = _endOf(terms, period) + terms.graceSeconds;
        if (block.timestamp <= payableUntil) return 0;
        uint256 periodsLate = (block.timestamp - payableUntil + terms.periodSeconds - 1) / terms.periodSeconds;
        uint256 bps = periodsLate * terms.latePenaltyBps;
        return MoneyMath.mulDivUp(royalty, bps < MoneyMath.BPS ? bps : MoneyMath.BPS, MoneyMath.BPS);
    }

    function _endOf(RoyaltyTerms storage terms, uint32 period) private view returns (uint256) {
        return uint256(terms.firstPeriodEnd) + uint256(period) * terms.periodSeconds;
    }
}
