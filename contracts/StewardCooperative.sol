// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {CooperativeMembers} from "./cooperative/CooperativeMembers.sol";
import {CooperativeVotes} from "./cooperative/CooperativeVotes.sol";
import {ICouncilRegister} from "./interfaces/ICouncilRegister.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRemovalDuties} from "./interfaces/IRemovalDuties.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {IStewardCooperative} from "./interfaces/IStewardCooperative.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {LicenseOffer, Party} from "./types/License.sol";
import {DutyKind} from "./types/Removal.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title StewardCooperative
/// @notice Deals, mandates and money; members and votes are in cooperative/. Rules and guarantees: {IStewardCooperative}.
contract StewardCooperative is CooperativeVotes, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @inheritdoc IStewardCooperative
    address public immutable registry;
    /// @inheritdoc IStewardCooperative
    address public immutable splitter;
    /// @inheritdoc IStewardCooperative
    address public immutable duties;
    /// @inheritdoc IStewardCooperative
    address public immutable councilRegister;

    uint32 private _lastMandateId;
    mapping(uint32 mandateId => Mandate) private _mandates;
    mapping(bytes32 digest => Deal) private _deals;
    /// @inheritdoc IStewardCooperative
    mapping(uint32 licenseId => mapping(address member => uint256)) public paid;

    constructor(
        address registry_,
        address splitter_,
        address duties_,
        address councilRegister_,
        Rules memory rules_,
        Share[] memory founders
    ) CooperativeMembers(founders) CooperativeVotes(rules_) {
        if (registry_ == address(0)) revert StewardCooperative_ZeroAddress("registry");
        if (splitter_ == address(0)) revert StewardCooperative_ZeroAddress("splitter");
        if (duties_ == address(0)) revert StewardCooperative_ZeroAddress("duties");
        if (councilRegister_ == address(0)) revert StewardCooperative_ZeroAddress("councilRegister");
        registry = registry_;
        splitter = splitter_;
        duties = duties_;
        councilRegister = councilRegister_;
    }

    /// @inheritdoc IStewardCooperative
    function grantMandate(Mandate calldata mandate_) external onlyByVote returns (uint32 mandateId) {
        mandateId = ++_lastMandateId;
        if (mandate_.agent == address(0) || mandate_.expiresAt <= block.timestamp) {
            revert StewardCooperative_BadMandate(mandateId);
        }
        _mandates[mandateId] = mandate_;
        emit MandateGranted(mandateId, mandate_.agent, mandate_);
    }

    /// @inheritdoc IStewardCooperative
    function revokeMandate(uint32 mandateId) external {
        Mandate storage found = _mandates[mandateId];
        if (found.agent == address(0)) revert StewardCooperative_BadMandate(mandateId);
        _requireVoteOrAgent(mandateId);
        found.expiresAt = 0;
        emit MandateRevoked(mandateId, msg.sender);
    }

    /// @inheritdoc IStewardCooperative
    function approveOffer(uint32 mandateId, LicenseOffer calldata offer)
        external
        beforeMerger
        returns (bytes32 digest)
    {
        _requireMandate(mandateId);
        if (offer.steward != address(this)) revert StewardCooperative_NotTheSteward(offer.steward);
        if (mandateId != 0) _useMandate(mandateId, offer);
        uint48 version = formulaVersion;
        if (totalSharesAt(version) == 0) revert StewardCooperative_NoMembers();
        digest = ILicenseRegistry(registry).hashOffer(offer);
        // The first approval freezes the formula: money may have arrived under it.
        if (_deals[digest].version != 0) revert StewardCooperative_DealExists(digest);
        _deals[digest] =
            Deal({version: version, approvedAt: uint48(block.timestamp), mandateId: mandateId, withdrawn: false});
        emit OfferApproved(digest, mandateId, version);
    }

    /// @inheritdoc IStewardCooperative
    function withdrawApproval(bytes32 digest) external {
        Deal storage found = _deals[digest];
        if (found.version == 0) revert StewardCooperative_UnknownDeal(digest);
        _requireVoteOrAgent(found.mandateId);
        found.withdrawn = true;
        emit ApprovalWithdrawn(digest, msg.sender);
    }

    /// @inheritdoc IStewardCooperative
    function cancelOffer(uint32 mandateId, uint256 nonce) external {
        _requireMandate(mandateId);
        ILicenseRegistry(registry).cancelOffer(nonce);
    }

    /// @inheritdoc IStewardCooperative
    function setRoster(uint32 mandateId, uint32 licenseId, bytes32 rosterRoot) external {
        _requireAdministration(mandateId, licenseId);
        ILicenseRegistry(registry).setRoster(licenseId, rosterRoot);
    }

    /// @inheritdoc IStewardCooperative
    function giveNotice(uint32 mandateId, uint32 licenseId) external {
        _requireAdministration(mandateId, licenseId);
        ILicenseRegistry(registry).giveNotice(licenseId);
    }

    /// @inheritdoc IStewardCooperative
    function setSuspended(uint32 mandateId, uint32 licenseId, bool suspended) external {
        _requireAdministration(mandateId, licenseId);
        ILicenseRegistry(registry).setSuspended(licenseId, suspended);
    }

    /// @inheritdoc IStewardCooperative
    function openDuty(uint32 mandateId, uint32 licenseId, DutyKind kind, bytes32 revokeTag) external {
        _requireAdministration(mandateId, licenseId);
        IRemovalDuties(duties).openDuty(licenseId, kind, revokeTag);
    }

    /// @inheritdoc IStewardCooperative
    function declareInterests(bytes32 declarationHash) external onlyByVote {
        ICouncilRegister(councilRegister).declareInterests(declarationHash);
    }

    /// @inheritdoc IStewardCooperative
    function pay(uint32 licenseId, address member) external nonReentrant returns (uint256 amount) {
        amount = owed(licenseId, member);
        if (amount == 0) revert StewardCooperative_NothingToPay(licenseId, member);
        paid[licenseId][member] += amount;
        emit MemberPaid(licenseId, member, amount);
        // What was earned is here already, or comes with this.
        IRoyaltySplitter source = IRoyaltySplitter(splitter);
        if (source.shareCredit(licenseId, Party.Steward) != 0) source.payShare(licenseId, Party.Steward);
        IERC20(source.token()).safeTransfer(member, amount);
    }

    /// @inheritdoc IStewardCooperative
    function mandate(uint32 mandateId) external view returns (Mandate memory) {
        return _mandates[mandateId];
    }

    /// @inheritdoc IStewardCooperative
    function deal(bytes32 digest) external view returns (Deal memory) {
        return _deals[digest];
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        Deal storage found = _deals[digest];
        bool isValid = found.version != 0 && !found.withdrawn && mergedInto == address(0)
            && (found.mandateId == 0 || _isInForce(found.mandateId));
        return isValid ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @inheritdoc IStewardCooperative
    function owed(uint32 licenseId, address member) public view returns (uint256) {
        bytes32 digest = ILicenseRegistry(registry).license(licenseId).offerHash;
        uint48 version = _deals[digest].version;
        if (version == 0) revert StewardCooperative_UnknownDeal(digest);
        uint256 earned = IRoyaltySplitter(splitter).shareEarned(licenseId, Party.Steward);
        uint256 part = MoneyMath.mulDivDown(earned, sharesAt(member, version), totalSharesAt(version));
        return part - paid[licenseId][member];
    }

    /// @dev Every limit of a mandate, and one deal less of it.
    function _useMandate(uint32 mandateId, LicenseOffer calldata offer) private {
        Limit limit = _firstBroken(_mandates[mandateId], offer);
        if (limit != Limit.None) revert StewardCooperative_BeyondMandate(mandateId, limit);
        --_mandates[mandateId].dealsLeft;
    }

    /// @dev That the caller is the agent of a mandate in force; or, under mandate 0, a vote.
    function _requireMandate(uint32 mandateId) private view {
        if (mandateId == 0) {
            if (msg.sender != address(this)) revert StewardCooperative_OnlyByVote(msg.sender);
            return;
        }
        if (msg.sender != _mandates[mandateId].agent) revert StewardCooperative_NotAgent(mandateId, msg.sender);
        if (!_isInForce(mandateId)) revert StewardCooperative_MandateOver(mandateId);
    }

    function _requireAdministration(uint32 mandateId, uint32 licenseId) private view {
        _requireMandate(mandateId);
        if (mandateId == 0) return;
        Mandate storage limits = _mandates[mandateId];
        if (!limits.administers) revert StewardCooperative_BeyondMandate(mandateId, Limit.Administers);
        bytes32 collectionHash = ILicenseRegistry(registry).license(licenseId).collectionHash;
        if (collectionHash != limits.collectionHash) {
            revert StewardCooperative_BeyondMandate(mandateId, Limit.CollectionHash);
        }
    }

    function _requireVoteOrAgent(uint32 mandateId) private view {
        if (msg.sender == address(this)) return;
        if (mandateId == 0) revert StewardCooperative_OnlyByVote(msg.sender);
        if (msg.sender != _mandates[mandateId].agent) revert StewardCooperative_NotAgent(mandateId, msg.sender);
    }

    function _isInForce(uint32 mandateId) private view returns (bool) {
        return block.timestamp <= _mandates[mandateId].expiresAt;
    }

    function _firstBroken(Mandate storage limits, LicenseOffer calldata offer) private view returns (Limit) {
        if (offer.collectionHash != limits.collectionHash) return Limit.CollectionHash;
        if (offer.meterKind != limits.meterKind) return Limit.MeterKind;
        if (limits.dealsLeft == 0) return Limit.DealsLeft;
        if (offer.deadline > limits.expiresAt) return Limit.ExpiresAt;
        if (offer.endsAt > limits.latestEnd) return Limit.LatestEnd;
        if (offer.pricePerMillionUnits < limits.floorPricePerMillionUnits) return Limit.FloorPrice;
        if (offer.maxChargePerEpoch < limits.leastCapPerEpoch) return Limit.LeastCapPerEpoch;
        if (offer.upfrontFee < limits.leastUpfrontFee) return Limit.LeastUpfrontFee;
        if (offer.coolingOffSeconds > limits.mostCoolingOffSeconds) return Limit.MostCoolingOff;
        if (offer.usageBond < limits.leastUsageBond) return Limit.LeastUsageBond;
        if (offer.contributorsBps < limits.leastContributorsBps) return Limit.LeastContributorsBps;
        if (offer.stewardBps < limits.leastStewardBps) return Limit.LeastStewardBps;
        return Limit.None;
    }
}
