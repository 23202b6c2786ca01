// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IConsentLog} from "./interfaces/IConsentLog.sol";
import {ILicenseBonds} from "./interfaces/ILicenseBonds.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRemovalDuties} from "./interfaces/IRemovalDuties.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {LaneEvidence} from "./libraries/LaneEvidence.sol";
import {LaneTree} from "./libraries/LaneTree.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {RosterRow} from "./libraries/RosterRow.sol";
import {LaneRegistration, License, MeterKind} from "./types/License.sol";
import {UsageReceipt} from "./types/Receipt.sol";
import {DutyKind, ForbiddenUse, RowOpening, UsedRecord} from "./types/Removal.sol";

/// @title RemovalDuties
/// @notice Holds no money; what it proves, the license's bond pays. Rules and guarantees: {IRemovalDuties}.
contract RemovalDuties is IRemovalDuties {
    using RosterRow for bytes;

    uint48 private constant RETRIEVAL_SECONDS = 30 days;
    uint48 private constant TRAINING_SECONDS = 180 days;
    uint256 private constant GRACE_SECONDS = 24 hours;
    uint256 private constant HORIZON_SECONDS = 90 days;
    uint256 private constant PENALTY_FACTOR = 3;

    /// @inheritdoc IRemovalDuties
    address public immutable registry;
    /// @inheritdoc IRemovalDuties
    address public immutable consentLog;
    /// @inheritdoc IRemovalDuties
    address public immutable bonds;
    /// @inheritdoc IRemovalDuties
    address public immutable settlement;

    /// @dev One kind has one term, so deadlines never fall along a list.
    mapping(uint32 licenseId => mapping(DutyKind kind => Duty[])) private _duties;
    mapping(uint32 licenseId => mapping(DutyKind kind => mapping(bytes32 revokeTag => bool))) private _opened;
    /// @inheritdoc IRemovalDuties
    mapping(uint32 licenseId => mapping(DutyKind kind => uint256)) public closedCount;
    /// @inheritdoc IRemovalDuties
    mapping(bytes32 receiptHash => mapping(bytes32 recordTag => bool)) public penalized;
    /// @inheritdoc IRemovalDuties
    mapping(address lane => uint128) public penalizedUnits;

    constructor(address registry_, address consentLog_, address bonds_, address settlement_) {
        if (registry_ == address(0)) revert RemovalDuties_ZeroAddress("registry");
        if (consentLog_ == address(0)) revert RemovalDuties_ZeroAddress("consentLog");
        if (bonds_ == address(0)) revert RemovalDuties_ZeroAddress("bonds");
        if (settlement_ == address(0)) revert RemovalDuties_ZeroAddress("settlement");
        registry = registry_;
        consentLog = consentLog_;
        bonds = bonds_;
        settlement = settlement_;
    }

    /// @inheritdoc IRemovalDuties
    function openDuty(uint32 licenseId, DutyKind kind, bytes32 revokeTag) external returns (uint256 number) {
        License memory found = ILicenseRegistry(registry).license(licenseId);
        if (msg.sender != found.steward) revert RemovalDuties_NotSteward(licenseId, msg.sender);
        _requireWithinHorizon(licenseId, found);
        if (IConsentLog(consentLog).revokedAt(revokeTag) == 0) revert RemovalDuties_NotRevoked(revokeTag);
        if (_opened[licenseId][kind][revokeTag]) revert RemovalDuties_AlreadyOpened(licenseId, kind, revokeTag);
        _opened[licenseId][kind][revokeTag] = true;
        uint48 dueBy = uint48(block.timestamp) + (kind == DutyKind.Retrieval ? RETRIEVAL_SECONDS : TRAINING_SECONDS);
        number = _duties[licenseId][kind].length;
        _duties[licenseId][kind].push(Duty(revokeTag, dueBy));
        emit DutyOpened(licenseId, kind, number, revokeTag, dueBy);
    }

    /// @inheritdoc IRemovalDuties
    function attestRemoval(uint32 licenseId, DutyKind kind, uint256 upTo, bytes32 attestationHash) external {
        address buyer = ILicenseRegistry(registry).license(licenseId).buyer;
        if (msg.sender != buyer) revert RemovalDuties_NotBuyer(licenseId, msg.sender);
        if (attestationHash == 0) revert RemovalDuties_ZeroAttestation();
        uint256 first = _close(licenseId, kind, upTo);
        uint48 dueBy = _duties[licenseId][kind][first].dueBy;
        if (block.timestamp > dueBy) revert RemovalDuties_Overdue(first, dueBy);
        emit RemovalAttested(licenseId, kind, upTo, attestationHash);
    }

    /// @inheritdoc IRemovalDuties
    function enforceDuty(uint32 licenseId, DutyKind kind, uint256 upTo) external returns (uint96 slashed) {
        _close(licenseId, kind, upTo);
        uint48 dueBy = _duties[licenseId][kind][upTo - 1].dueBy;
        if (block.timestamp <= dueBy) revert RemovalDuties_NotDue(upTo - 1, dueBy);
        slashed = ILicenseBonds(bonds).slash(licenseId, type(uint96).max, address(0));
        emit DutyEnforced(licenseId, kind, upTo, slashed);
    }

    /// @inheritdoc IRemovalDuties
    function penalizeUse(ForbiddenUse calldata use) external returns (uint96 slashed) {
        UsageReceipt calldata receipt = use.signed.receipt;
        bytes32 recordTag = use.used.recordTag;
        bytes32 receiptHash =
            LaneEvidence.requireSigned(IUsageSettlement(settlement).domainSeparator(), use.signed);
        if (receipt.issuedAtMs > block.timestamp * 1000) {
            revert RemovalDuties_NotYetIssued(receipt.issuedAtMs, block.timestamp);
        }
        LaneRegistration memory lane = _laneOf(receipt.lane);
        License memory found = ILicenseRegistry(registry).license(lane.licenseId);
        if (found.meterKind != MeterKind.Retrieval && found.meterKind != MeterKind.Embedding) {
            revert RemovalDuties_NotMeteredByUse(lane.licenseId);
        }
        _requireWithinHorizon(lane.licenseId, found);
        _requireUsed(receipt.usageRoot, use.used);
        _requireForbidden(lane.licenseId, use, receipt.issuedAtMs);

        if (penalized[receiptHash][recordTag]) revert RemovalDuties_AlreadyPenalized(receiptHash, recordTag);
        penalized[receiptHash][recordTag] = true;
        uint96 penalty = _penalty(lane, receipt.units);
        slashed = ILicenseBonds(bonds).slash(lane.licenseId, penalty, address(0));
        // What takes nothing must not use the proof up.
        if (slashed == 0) revert RemovalDuties_NothingToTake(lane.licenseId);
        emit ForbiddenUsePenalized(lane.licenseId, receipt.lane, recordTag, receiptHash, penalty, slashed);
    }

    /// @inheritdoc IRemovalDuties
    function openFor(uint32 licenseId) external view returns (uint256) {
        return _openOf(licenseId, DutyKind.Retrieval) + _openOf(licenseId, DutyKind.Training);
    }

    /// @inheritdoc IRemovalDuties
    function dutyCount(uint32 licenseId, DutyKind kind) external view returns (uint256) {
        return _duties[licenseId][kind].length;
    }

    /// @inheritdoc IRemovalDuties
    function duty(uint32 licenseId, DutyKind kind, uint256 number) external view returns (Duty memory) {
        return _duties[licenseId][kind][number];
    }

    /// @dev Close the open duties below `upTo`, at least one.
    /// @return first Number of the first of them.
    function _close(uint32 licenseId, DutyKind kind, uint256 upTo) private returns (uint256 first) {
        first = closedCount[licenseId][kind];
        uint256 count = _duties[licenseId][kind].length;
        if (upTo <= first || upTo > count) revert RemovalDuties_BadRange(first, upTo, count);
        closedCount[licenseId][kind] = upTo;
    }

    /// @dev Three times the price of the units, as far as the lane's cap has units left to penalize.
    function _penalty(LaneRegistration memory lane, uint256 units) private returns (uint96) {
        uint256 left = lane.unitCap - penalizedUnits[lane.lane];
        if (units > left) units = left;
        penalizedUnits[lane.lane] += uint128(units);
        uint256 price = ILicenseRegistry(registry).pricing(lane.licenseId).pricePerMillionUnits;
        uint256 penalty = MoneyMath.mulDivUp(PENALTY_FACTOR * units, price, MoneyMath.UNITS_PER_PRICE);
        return penalty < type(uint96).max ? uint96(penalty) : type(uint96).max;
    }

    function _openOf(uint32 licenseId, DutyKind kind) private view returns (uint256) {
        return _duties[licenseId][kind].length - closedCount[licenseId][kind];
    }

    function _laneOf(address lane) private view returns (LaneRegistration memory) {
        (bool registered, uint32 laneNumber) = ILicenseRegistry(registry).laneNumberOf(lane);
        if (!registered) revert RemovalDuties_UnknownLane(lane);
        return ILicenseRegistry(registry).laneAt(laneNumber);
    }

    /// @dev After the horizon the buyer may have taken the bond back, and nobody has to answer any more.
    function _requireWithinHorizon(uint32 licenseId, License memory found) private view {
        uint256 until = uint256(found.endsAt) + HORIZON_SECONDS;
        if (block.timestamp > until) revert RemovalDuties_TooLate(licenseId, until);
    }

    /// @dev That the record's row forbade the use in every roster from one that was set a grace period before it up to
    /// the last one before it. With a row missing, a steward could hide a roster that allowed the use.
    function _requireForbidden(uint32 licenseId, ForbiddenUse calldata use, uint256 issuedAtMs) private view {
        ILicenseRegistry registry_ = ILicenseRegistry(registry);
        uint256 number = use.firstRoster;
        for (uint256 i; i < use.rows.length; ++i) {
            (bytes32 root, uint48 setAt) = registry_.rosterAt(licenseId, number);
            if (i == 0 && (setAt + GRACE_SECONDS) * 1000 > issuedAtMs) revert RemovalDuties_RosterTooNew(number, setAt);
            if (uint256(setAt) * 1000 > issuedAtMs) revert RemovalDuties_RosterLater(number, setAt);
            RowOpening calldata opening = use.rows[i];
            LaneTree.requireLeaf(root, opening.count, opening.index, opening.row.leaf(), opening.proof);
            if (!_forbids(opening, use.used.recordTag, issuedAtMs)) revert RemovalDuties_NotForbidden(number);
            ++number;
        }
        if (number == use.firstRoster) revert RemovalDuties_RosterMissing(number, 0);
        if (number == registry_.rosterCount(licenseId)) return;
        (, uint48 nextSetAt) = registry_.rosterAt(licenseId, number);
        if (uint256(nextSetAt) * 1000 <= issuedAtMs) revert RemovalDuties_RosterMissing(number, nextSetAt);
    }

    /// @dev Whether a consent for the record had ended and none was left: expired, or revoked a grace period before.
    function _forbids(RowOpening calldata opening, bytes32 recordTag, uint256 issuedAtMs) private view returns (bool) {
        bytes calldata row = opening.row;
        (uint256 tags, uint256 intervals) = row.counts();
        bytes32 inRow = row.tagAt(tags, opening.tagPosition);
        if (inRow != recordTag) revert RemovalDuties_WrongTag(recordTag, inRow);
        bool ended;
        for (uint256 i; i < intervals; ++i) {
            (uint64 fromMs, uint64 toMs, bytes32 revokeTag) = row.intervalAt(tags, i);
            if (issuedAtMs < fromMs) continue;
            if (issuedAtMs < toMs) {
                uint256 revokedAt = IConsentLog(consentLog).revokedAt(revokeTag);
                if (revokedAt == 0 || (revokedAt + GRACE_SECONDS) * 1000 > issuedAtMs) return false;
            }
            ended = true;
        }
        return ended;
    }

    /// @dev That a usage list has an entry. An entry hashes 69 bytes, so no node of the list's tree passes for one.
    function _requireUsed(bytes32 usageRoot, UsedRecord calldata used) private pure {
        bytes32 leaf = keccak256(abi.encodePacked(hex"04", used.recordTag, used.weight, used.salt));
        LaneTree.requireLeaf(usageRoot, used.count, used.index, leaf, used.proof);
    }
}
