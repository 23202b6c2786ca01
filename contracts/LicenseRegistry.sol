// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseBonds} from "./interfaces/ILicenseBonds.sol";
import {ILicenseFees} from "./interfaces/ILicenseFees.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IUsageChallenges} from "./interfaces/IUsageChallenges.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {License, LicenseOffer, LicensePricing, LaneRegistration, MeterKind} from "./types/License.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title LicenseRegistry
/// @notice Licenses are counted from 1, lanes from 0. Rules and guarantees: {ILicenseRegistry}.
contract LicenseRegistry is ILicenseRegistry, AccessManaged, EIP712 {
    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "LicenseOffer(address steward,address buyer,bytes32 templateHash,bytes32 documentHash,bytes32 collectionHash,address token,uint8 meterKind,uint96 pricePerMillionUnits,uint96 upfrontFee,uint96 maxChargePerEpoch,uint96 usageBond,uint16 contributorsBps,uint16 communityBps,uint16 stewardBps,uint16 platformBps,uint16 operatorsBps,bytes32 milestonesHash,bytes32 royaltyHash,uint64 startsAt,uint64 endsAt,uint32 coolingOffSeconds,uint32 noticeSeconds,uint256 nonce,uint64 deadline)"
    );
    bytes32 private constant LANE_TYPEHASH = keccak256(
        "LaneRegistration(address lane,uint32 licenseId,uint64 validFrom,uint64 validTo,uint128 unitCap)"
    );
    uint256 private constant BPS = 10_000;

    /// @dev What becomes of a license besides its terms: one slot.
    struct Fate {
        address community;
        uint32 laneCount;
        bool cooledOff;
    }

    struct RosterEntry {
        bytes32 root;
        uint48 setAt;
    }

    /// @inheritdoc ILicenseRegistry
    address public immutable token;
    /// @inheritdoc ILicenseRegistry
    address public immutable fees;
    /// @inheritdoc ILicenseRegistry
    address public immutable bonds;
    /// @inheritdoc ILicenseRegistry
    address public immutable challenges;
    /// @inheritdoc ILicenseRegistry
    address public community;
    /// @inheritdoc ILicenseRegistry
    uint32 public licenseCount;
    uint16 private _floorContributorsBps;
    uint16 private _floorCommunityBps;
    /// @inheritdoc ILicenseRegistry
    uint16 public bondEpochs;

    /// @inheritdoc ILicenseRegistry
    mapping(bytes32 templateHash => bool) public templateApproved;
    /// @inheritdoc ILicenseRegistry
    mapping(address steward => mapping(uint256 nonce => bool)) public offerUsed;

    mapping(uint32 licenseId => License) private _licenses;
    /// @dev A license exists when its cap is above 0; accept() refuses a cap of 0.
    mapping(uint32 licenseId => LicensePricing) private _pricings;
    mapping(uint32 licenseId => Fate) private _fates;
    mapping(uint32 licenseId => RosterEntry[]) private _rosters;
    LaneRegistration[] private _lanes;
    /// @dev Lane number + 1; 0 for a key that is no lane.
    mapping(address lane => uint256) private _laneOrdinals;
    /// @inheritdoc ILicenseRegistry
    mapping(uint32 laneNumber => uint48) public laneRevokedAt;

    /// @param community_ Who receives the community's share of licenses accepted until the council names another.
    constructor(
        address authority,
        address token_,
        address fees_,
        address bonds_,
        address challenges_,
        address community_
    ) AccessManaged(authority) EIP712("Usufruct Licenses", "1") {
        if (authority == address(0)) revert LicenseRegistry_ZeroAddress("authority");
        if (token_ == address(0)) revert LicenseRegistry_ZeroAddress("token");
        if (fees_ == address(0)) revert LicenseRegistry_ZeroAddress("fees");
        if (bonds_ == address(0)) revert LicenseRegistry_ZeroAddress("bonds");
        if (challenges_ == address(0)) revert LicenseRegistry_ZeroAddress("challenges");
        token = token_;
        fees = fees_;
        bonds = bonds_;
        challenges = challenges_;
        _setCommunity(community_);
    }

    /// @inheritdoc ILicenseRegistry
    function accept(LicenseOffer calldata offer, bytes calldata stewardSignature) external returns (uint32 licenseId) {
        if (offer.buyer != msg.sender) revert LicenseRegistry_WrongBuyer(offer.buyer, msg.sender);
        if (block.timestamp > offer.deadline) revert LicenseRegistry_OfferExpired(offer.deadline, block.timestamp);
        _requireReports();
        _requireFairTerms(offer);
        _useNonce(offer.steward, offer.nonce);
        bytes32 digest = hashOffer(offer);
        if (!SignatureChecker.isValidSignatureNow(offer.steward, digest, stewardSignature)) {
            revert LicenseRegistry_BadStewardSignature(offer.steward, digest);
        }

        licenseId = _record(offer, digest);
        emit LicenseAccepted(licenseId, offer.steward, offer.buyer, digest, offer);
        // The license is whole before anybody else's code runs; what cannot be collected undoes it all.
        if (offer.upfrontFee != 0) ILicenseFees(fees).collectUpfront(licenseId, offer.buyer, offer.upfrontFee);
        if (offer.usageBond != 0) ILicenseBonds(bonds).collect(licenseId, offer.buyer, offer.usageBond);
    }

    /// @inheritdoc ILicenseRegistry
    function cancelOffer(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit OfferCanceled(msg.sender, nonce);
    }

    /// @inheritdoc ILicenseRegistry
    function registerLane(LaneRegistration calldata registration, bytes calldata laneSignature)
        external
        returns (uint32 laneNumber)
    {
        uint32 licenseId = registration.licenseId;
        address lane = registration.lane;
        License storage found = _existing(licenseId);
        _requireBuyer(found, licenseId);
        _requireRunning(found, licenseId);
        if (found.suspended) revert LicenseRegistry_LicenseSuspended(licenseId);
        if (registration.validFrom >= registration.validTo) {
            revert LicenseRegistry_BadLaneValidity(registration.validFrom, registration.validTo);
        }
        if (registration.unitCap == 0) revert LicenseRegistry_ZeroUnitCap(lane);
        if (_laneOrdinals[lane] != 0) revert LicenseRegistry_LaneTaken(lane, uint32(_laneOrdinals[lane] - 1));
        // A lane is a key that signs each receipt: a contract wallet's changeable say-so would not do.
        bytes32 digest = hashLane(registration);
        (address recovered,,) = ECDSA.tryRecover(digest, laneSignature);
        if (recovered != lane || lane == address(0)) revert LicenseRegistry_BadLaneSignature(lane, digest);

        laneNumber = uint32(_lanes.length);
        _lanes.push(registration);
        _laneOrdinals[lane] = uint256(laneNumber) + 1;
        ++_fates[licenseId].laneCount;
        emit LaneRegistered(
            laneNumber, lane, licenseId, registration.validFrom, registration.validTo, registration.unitCap
        );
    }

    /// @inheritdoc ILicenseRegistry
    function setRoster(uint32 licenseId, bytes32 rosterRoot) external {
        License storage found = _existing(licenseId);
        _requireSteward(found, licenseId);
        if (rosterRoot == 0) revert LicenseRegistry_ZeroRosterRoot(licenseId);
        found.rosterRoot = rosterRoot;
        _rosters[licenseId].push(RosterEntry(rosterRoot, uint48(block.timestamp)));
        emit RosterSet(licenseId, rosterRoot);
    }

    /// @inheritdoc ILicenseRegistry
    function giveNotice(uint32 licenseId) external {
        License storage found = _existing(licenseId);
        if (msg.sender != found.buyer && msg.sender != found.steward) {
            revert LicenseRegistry_NotParty(licenseId, msg.sender);
        }
        _requireRunning(found, licenseId);
        _endBy(found, licenseId, block.timestamp + found.noticeSeconds);
    }

    /// @inheritdoc ILicenseRegistry
    function coolOff(uint32 licenseId) external {
        License storage found = _existing(licenseId);
        _requireBuyer(found, licenseId);
        uint256 endedAt = uint256(found.acceptedAt) + found.coolingOffSeconds;
        if (block.timestamp >= endedAt) revert LicenseRegistry_CoolingOffOver(licenseId, endedAt);
        // An end by the steward's notice must not cost the buyer what leaving gives back, so an ended license will do.
        if (_fates[licenseId].cooledOff) revert LicenseRegistry_AlreadyCooledOff(licenseId);
        _fates[licenseId].cooledOff = true;
        _endBy(found, licenseId, block.timestamp);
    }

    /// @inheritdoc ILicenseRegistry
    function setSuspended(uint32 licenseId, bool suspended) external {
        License storage found = _existing(licenseId);
        _requireSteward(found, licenseId);
        found.suspended = suspended;
        emit LicenseSuspensionSet(licenseId, suspended);
    }

    /// @inheritdoc ILicenseRegistry
    function revokeLane(uint32 laneNumber) external {
        if (msg.sender != challenges) revert LicenseRegistry_OnlyChallenges(msg.sender);
        address lane = _lanes[laneNumber].lane;
        if (laneRevokedAt[laneNumber] != 0) return;
        laneRevokedAt[laneNumber] = uint48(block.timestamp);
        emit LaneRevoked(laneNumber, lane);
    }

    /// @inheritdoc ILicenseRegistry
    function setTemplate(bytes32 templateHash, bool approved) external restricted {
        templateApproved[templateHash] = approved;
        emit TemplateSet(templateHash, approved);
    }

    /// @inheritdoc ILicenseRegistry
    function setFloors(uint16 contributorsBps, uint16 communityBps) external restricted {
        if (uint256(contributorsBps) + communityBps > BPS) {
            revert LicenseRegistry_BadFloors(contributorsBps, communityBps);
        }
        _floorContributorsBps = contributorsBps;
        _floorCommunityBps = communityBps;
        emit FloorsSet(contributorsBps, communityBps);
    }

    /// @inheritdoc ILicenseRegistry
    function setBondEpochs(uint16 epochs) external restricted {
        bondEpochs = epochs;
        emit BondEpochsSet(epochs);
    }

    /// @inheritdoc ILicenseRegistry
    function setCommunity(address community_) external restricted {
        _setCommunity(community_);
    }

    /// @inheritdoc ILicenseRegistry
    function floors() external view returns (uint16 contributorsBps, uint16 communityBps) {
        return (_floorContributorsBps, _floorCommunityBps);
    }

    /// @inheritdoc ILicenseRegistry
    function license(uint32 licenseId) external view returns (License memory) {
        return _existing(licenseId);
    }

    /// @inheritdoc ILicenseRegistry
    function pricing(uint32 licenseId) external view returns (LicensePricing memory) {
        LicensePricing storage found = _pricings[licenseId];
        if (found.maxChargePerEpoch == 0) revert LicenseRegistry_UnknownLicense(licenseId);
        return found;
    }

    /// @inheritdoc ILicenseRegistry
    function communityOf(uint32 licenseId) external view returns (address bound) {
        bound = _fates[licenseId].community;
        if (bound == address(0)) revert LicenseRegistry_UnknownLicense(licenseId);
    }

    /// @inheritdoc ILicenseRegistry
    function cooledOff(uint32 licenseId) external view returns (bool) {
        return _fates[licenseId].cooledOff;
    }

    /// @inheritdoc ILicenseRegistry
    function rosterCount(uint32 licenseId) external view returns (uint256) {
        return _rosters[licenseId].length;
    }

    /// @inheritdoc ILicenseRegistry
    function rosterAt(uint32 licenseId, uint256 index) external view returns (bytes32 root, uint48 setAt) {
        RosterEntry storage entry = _rosters[licenseId][index];
        return (entry.root, entry.setAt);
    }

    /// @inheritdoc ILicenseRegistry
    function laneCountOf(uint32 licenseId) external view returns (uint32) {
        return _fates[licenseId].laneCount;
    }

    /// @inheritdoc ILicenseRegistry
    function laneCount() external view returns (uint32) {
        return uint32(_lanes.length);
    }

    /// @inheritdoc ILicenseRegistry
    function laneAt(uint32 laneNumber) external view returns (LaneRegistration memory) {
        return _lanes[laneNumber];
    }

    /// @inheritdoc ILicenseRegistry
    function laneNumberOf(address lane) external view returns (bool registered, uint32 laneNumber) {
        uint256 ordinal = _laneOrdinals[lane];
        if (ordinal != 0) return (true, uint32(ordinal - 1));
    }

    /// @inheritdoc ILicenseRegistry
    function hashOffer(LicenseOffer calldata offer) public view returns (bytes32 digest) {
        return _hashTypedDataV4(keccak256(abi.encode(OFFER_TYPEHASH, offer)));
    }

    /// @inheritdoc ILicenseRegistry
    function hashLane(LaneRegistration calldata registration) public view returns (bytes32 digest) {
        return _hashTypedDataV4(keccak256(abi.encode(LANE_TYPEHASH, registration)));
    }

    function _setCommunity(address community_) private {
        if (community_ == address(0)) revert LicenseRegistry_ZeroAddress("community");
        community = community_;
        emit CommunitySet(community_);
    }

    /// @dev All that the registry keeps of an offer. Fees and bonds find the rest by the offer's hash.
    function _record(LicenseOffer calldata offer, bytes32 digest) private returns (uint32 licenseId) {
        licenseId = ++licenseCount;
        _pricings[licenseId] = LicensePricing({
            pricePerMillionUnits: offer.pricePerMillionUnits,
            maxChargePerEpoch: offer.maxChargePerEpoch,
            communityBps: offer.communityBps,
            stewardBps: offer.stewardBps,
            platformBps: offer.platformBps,
            operatorsBps: offer.operatorsBps
        });
        _licenses[licenseId] = License({
            buyer: offer.buyer,
            startsAt: uint48(offer.startsAt),
            endsAt: uint48(offer.endsAt),
            steward: offer.steward,
            acceptedAt: uint48(block.timestamp),
            meterKind: MeterKind(offer.meterKind),
            suspended: false,
            coolingOffSeconds: offer.coolingOffSeconds,
            noticeSeconds: offer.noticeSeconds,
            collectionHash: offer.collectionHash,
            documentHash: offer.documentHash,
            offerHash: digest,
            rosterRoot: 0
        });
        _fates[licenseId].community = community;
    }

    /// @dev Every nonce of a steward works once, accepted or canceled.
    function _useNonce(address steward, uint256 nonce) private {
        if (offerUsed[steward][nonce]) revert LicenseRegistry_OfferUsed(steward, nonce);
        offerUsed[steward][nonce] = true;
    }

    /// @dev An end can come closer, never go further away, and none is moved into the past.
    function _endBy(License storage found, uint32 licenseId, uint256 latestEnd) private {
        if (latestEnd < found.endsAt) found.endsAt = uint48(latestEnd);
        emit LicenseEndSet(licenseId, found.endsAt, msg.sender);
    }

    /// @dev After the last report nothing is charged: a license would allow use that nobody could be made to pay for.
    function _requireReports() private view {
        address settlement = IUsageChallenges(challenges).settlement();
        if (IUsageSettlement(settlement).stopped()) revert LicenseRegistry_SettlementStopped(settlement);
    }

    function _requireFairTerms(LicenseOffer calldata offer) private view {
        if (!templateApproved[offer.templateHash]) revert LicenseRegistry_TemplateNotApproved(offer.templateHash);
        if (offer.token != token) revert LicenseRegistry_WrongToken(offer.token, token);
        if (offer.meterKind > uint8(type(MeterKind).max)) revert LicenseRegistry_UnknownMeterKind(offer.meterKind);
        uint256 sumBps = uint256(offer.contributorsBps) + offer.communityBps + offer.stewardBps + offer.platformBps
            + offer.operatorsBps;
        if (sumBps != BPS) revert LicenseRegistry_SplitNotWhole(sumBps);
        if (offer.contributorsBps < _floorContributorsBps || offer.communityBps < _floorCommunityBps) {
            revert LicenseRegistry_BelowFloor(
                offer.contributorsBps, offer.communityBps, _floorContributorsBps, _floorCommunityBps
            );
        }
        if (
            offer.startsAt >= offer.endsAt || offer.endsAt > type(uint48).max || offer.endsAt <= block.timestamp
        ) revert LicenseRegistry_BadTerm(offer.startsAt, offer.endsAt);
        if (offer.maxChargePerEpoch == 0) revert LicenseRegistry_ZeroCap();
        uint256 leastBond = uint256(offer.maxChargePerEpoch) * bondEpochs;
        if (offer.usageBond < leastBond) revert LicenseRegistry_BondTooSmall(offer.usageBond, leastBond);
    }

    function _existing(uint32 licenseId) private view returns (License storage found) {
        if (licenseId == 0 || licenseId > licenseCount) revert LicenseRegistry_UnknownLicense(licenseId);
        return _licenses[licenseId];
    }

    function _requireBuyer(License storage found, uint32 licenseId) private view {
        if (msg.sender != found.buyer) revert LicenseRegistry_NotBuyer(licenseId, msg.sender);
    }

    function _requireSteward(License storage found, uint32 licenseId) private view {
        if (msg.sender != found.steward) revert LicenseRegistry_NotSteward(licenseId, msg.sender);
    }

    function _requireRunning(License storage found, uint32 licenseId) private view {
        if (block.timestamp >= found.endsAt) revert LicenseRegistry_LicenseEnded(licenseId, found.endsAt);
    }
}
