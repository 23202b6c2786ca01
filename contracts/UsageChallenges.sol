// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICheckpointAnchors} from "./interfaces/ICheckpointAnchors.sol";
import {ILicenseBonds} from "./interfaces/ILicenseBonds.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IOperatorBonds} from "./interfaces/IOperatorBonds.sol";
import {IOracleCommittee} from "./interfaces/IOracleCommittee.sol";
import {IRoyaltyEscrow} from "./interfaces/IRoyaltyEscrow.sol";
import {IUsageChallenges} from "./interfaces/IUsageChallenges.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {CheckpointAcks} from "./libraries/CheckpointAcks.sol";
import {CommitReveal} from "./libraries/CommitReveal.sol";
import {LaneEvidence} from "./libraries/LaneEvidence.sol";
import {LaneTree} from "./libraries/LaneTree.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {
    Contradiction, LaneHead, SignedAck, SignedCheckpoint, SignedReceipt, UsageReceipt
} from "./types/Receipt.sol";
import {EpochReport} from "./types/Report.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title UsageChallenges
/// @notice Holds challengers' bonds and nobody else's money; asks {ILicenseBonds} and {IOperatorBonds} for theirs.
/// Rules and guarantees: {IUsageChallenges}.
contract UsageChallenges is IUsageChallenges, CommitReveal, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @inheritdoc IUsageChallenges
    uint256 public constant evidenceHorizonSeconds = 90 days;
    uint256 private constant CLOCK_TOLERANCE_SECONDS = 1 hours;
    uint256 private constant MIN_ANSWER_SECONDS = 7 days;

    /// @inheritdoc IUsageChallenges
    address public immutable token;
    /// @inheritdoc IUsageChallenges
    address public immutable settlement;
    /// @inheritdoc IUsageChallenges
    address public immutable registry;
    /// @inheritdoc IUsageChallenges
    address public immutable anchors;
    /// @inheritdoc IUsageChallenges
    address public immutable licenseBonds;
    /// @inheritdoc IUsageChallenges
    address public immutable operatorBonds;
    /// @inheritdoc IUsageChallenges
    uint32 public immutable maxMergeDelaySeconds;
    /// @inheritdoc IUsageChallenges
    uint16 public immutable laneSlashBps;
    /// @inheritdoc IUsageChallenges
    uint32 public immutable answerSeconds;
    /// @inheritdoc IUsageChallenges
    uint96 public immutable challengeBond;

    /// @inheritdoc IUsageChallenges
    uint256 public challengeCount;
    /// @inheritdoc IUsageChallenges
    mapping(uint32 licenseId => uint256) public openAgainst;
    /// @inheritdoc IUsageChallenges
    mapping(uint32 laneNumber => bool) public laneSlashed;
    /// @inheritdoc IUsageChallenges
    mapping(uint256 challengeId => mapping(address signer => bool)) public ackerSlashed;
    /// @inheritdoc IUsageChallenges
    mapping(address account => uint256) public credit;
    mapping(uint256 challengeId => Challenge) private _challenges;
    mapping(uint256 challengeId => Accusation) private _accusations;

    constructor(
        address token_,
        address settlement_,
        address registry_,
        address anchors_,
        address licenseBonds_,
        address operatorBonds_,
        uint32 maxMergeDelaySeconds_,
        Settings memory settings_
    ) {
        if (settlement_ == address(0)) revert UsageChallenges_ZeroAddress("settlement");
        if (registry_ == address(0)) revert UsageChallenges_ZeroAddress("registry");
        if (anchors_ == address(0)) revert UsageChallenges_ZeroAddress("anchors");
        if (licenseBonds_ == address(0)) revert UsageChallenges_ZeroAddress("licenseBonds");
        if (operatorBonds_ == address(0)) revert UsageChallenges_ZeroAddress("operatorBonds");
        if (
            settings_.laneSlashBps == 0 || settings_.laneSlashBps > MoneyMath.BPS
                || settings_.answerSeconds < MIN_ANSWER_SECONDS || settings_.challengeBond == 0
        ) revert UsageChallenges_BadSettings(settings_);
        token = token_;
        settlement = settlement_;
        registry = registry_;
        anchors = anchors_;
        licenseBonds = licenseBonds_;
        operatorBonds = operatorBonds_;
        maxMergeDelaySeconds = maxMergeDelaySeconds_;
        laneSlashBps = settings_.laneSlashBps;
        answerSeconds = settings_.answerSeconds;
        challengeBond = settings_.challengeBond;
        _requireNeighbors(token_, settlement_, registry_, anchors_, licenseBonds_, maxMergeDelaySeconds_);
        _requireWired("operatorBonds.challenges", IOperatorBonds(operatorBonds_).challenges(), address(this));
    }

    /// @inheritdoc IUsageChallenges
    function challengeContradiction(Contradiction calldata shown, bytes32)
        external
        committed
        nonReentrant
        returns (uint96 slashed)
    {
        return _slashCheater(LaneEvidence.requireContradiction(_domain(), shown));
    }

    /// @inheritdoc IUsageChallenges
    function challengeFutureDate(SignedReceipt calldata signed, bytes32)
        external
        committed
        nonReentrant
        returns (uint96 slashed)
    {
        LaneEvidence.requireSigned(_domain(), signed);
        uint256 fromMs = (block.timestamp + CLOCK_TOLERANCE_SECONDS) * 1000;
        if (signed.receipt.issuedAtMs <= fromMs) {
            revert UsageChallenges_NotInFuture(signed.receipt.issuedAtMs, fromMs);
        }
        return _slashCheater(signed.receipt.lane);
    }

    /// @inheritdoc IUsageChallenges
    function openBeyondCount(
        SignedReceipt calldata signed,
        EpochReport calldata report,
        LaneHead calldata head,
        bytes32
    ) external committed nonReentrant returns (uint256 challengeId) {
        LaneEvidence.requireSigned(_domain(), signed);
        IUsageSettlement(settlement).requireFinalized(report);
        (uint32 licenseId, uint32 laneNumber) = _requireChallengeable(signed.receipt.lane);
        _requireUncounted(signed.receipt, report, laneNumber, head);

        Challenge memory made;
        made.kind = Kind.BeyondCount;
        made.laneNumber = laneNumber;
        made.seq = signed.receipt.seq;
        made.epoch = report.epoch;
        made.periodEnd = report.periodEnd;
        made.signerSetVersion = report.signerSetVersion;
        return _open(licenseId, made);
    }

    /// @inheritdoc IUsageChallenges
    function openSwapped(SignedReceipt calldata signed, SignedCheckpoint calldata covering, bytes32)
        external
        committed
        nonReentrant
        returns (uint256 challengeId)
    {
        bytes32 domain = _domain();
        Challenge memory made;
        made.receiptHash = LaneEvidence.requireSigned(domain, signed);
        LaneEvidence.requireSigned(domain, covering);
        if (signed.receipt.lane != covering.checkpoint.lane) {
            revert UsageChallenges_WrongLane(signed.receipt.lane, covering.checkpoint.lane);
        }
        if (signed.receipt.seq >= covering.checkpoint.count) {
            revert UsageChallenges_NotCovered(signed.receipt.seq, covering.checkpoint.count);
        }
        uint32 licenseId;
        (licenseId, made.laneNumber) = _requireChallengeable(signed.receipt.lane);
        made.kind = Kind.Swapped;
        made.seq = signed.receipt.seq;
        made.count = covering.checkpoint.count;
        made.receiptsRoot = covering.checkpoint.receiptsRoot;
        return _open(licenseId, made);
    }

    /// @inheritdoc IUsageChallenges
    function answerByAcks(uint256 challengeId, SignedCheckpoint calldata covering, SignedAck[] calldata acks)
        external
        nonReentrant
    {
        Challenge memory answered = _requireOpen(challengeId, Kind.BeyondCount);
        address lane = ILicenseRegistry(registry).laneAt(answered.laneNumber).lane;
        if (covering.checkpoint.lane != lane) revert UsageChallenges_WrongLane(lane, covering.checkpoint.lane);
        if (answered.seq >= covering.checkpoint.count) {
            revert UsageChallenges_NotCovered(answered.seq, covering.checkpoint.count);
        }
        bytes32 domain = _domain();
        bytes32 checkpointHash = LaneEvidence.requireSigned(domain, covering);
        address[] memory ackers = CheckpointAcks.recover(domain, checkpointHash, answered.periodEnd, acks);
        (address[] memory signers,) = _committee().signersOf(answered.signerSetVersion);
        CheckpointAcks.requireEnough(ackers, signers);

        uint256 slashableFrom = block.timestamp + answerSeconds;
        _accusations[challengeId] = Accusation({
            challenger: answered.challenger,
            slashableFrom: uint48(slashableFrom),
            laneNumber: answered.laneNumber,
            epoch: answered.epoch,
            ackersHash: keccak256(abi.encode(ackers))
        });
        emit SignersAccused(challengeId, answered.epoch, ackers, slashableFrom);
        _closeAnswered(challengeId, answered.laneNumber);
    }

    /// @inheritdoc IUsageChallenges
    function answerByInclusion(uint256 challengeId, bytes32[] calldata proof) external nonReentrant {
        Challenge memory answered = _requireOpen(challengeId, Kind.Swapped);
        LaneTree.requireLeaf(answered.receiptsRoot, answered.count, answered.seq, answered.receiptHash, proof);
        _closeAnswered(challengeId, answered.laneNumber);
    }

    /// @inheritdoc IUsageChallenges
    function uphold(uint256 challengeId) external nonReentrant {
        Challenge memory upheld = _challenges[challengeId];
        if (upheld.kind == Kind.None) revert UsageChallenges_WrongKind(challengeId, Kind.None);
        if (block.timestamp <= upheld.answerableUntil) {
            revert UsageChallenges_StillAnswerable(upheld.answerableUntil, block.timestamp);
        }
        uint32 licenseId = _close(challengeId, upheld.laneNumber, upheld.challenger);
        emit ChallengeUpheld(challengeId);
        if (!laneSlashed[upheld.laneNumber]) _slashLane(licenseId, upheld.laneNumber, upheld.challenger);
    }

    /// @inheritdoc IUsageChallenges
    function slashAckers(
        uint256 challengeId,
        EpochReport calldata report,
        bytes calldata signatures,
        address[] calldata ackers
    ) external nonReentrant {
        Accusation memory accused = _accusations[challengeId];
        _requireSlashable(challengeId, accused, report.epoch, ackers);
        bytes32 structHash = IUsageSettlement(settlement).requireFinalized(report);
        bytes32 digest = MessageHashUtils.toTypedDataHash(_domain(), structHash);
        address[] memory signed =
            _committee().quorumSigners(report.epoch, report.signerSetVersion, digest, signatures);
        // Both ascend, so one walk meets every signer who did both.
        uint256 at;
        for (uint256 i; i < ackers.length; ++i) {
            address acker = ackers[i];
            while (at < signed.length && signed[at] < acker) ++at;
            if (at == signed.length) break;
            if (signed[at] != acker || ackerSlashed[challengeId][acker]) continue;
            ackerSlashed[challengeId][acker] = true;
            uint96 slashed = IOperatorBonds(operatorBonds).slash(acker, accused.challenger);
            emit AckerSlashed(challengeId, acker, slashed);
        }
    }

    /// @inheritdoc IUsageChallenges
    function revokeByContradiction(Contradiction calldata shown) external {
        address lane = LaneEvidence.requireContradiction(_domain(), shown);
        ILicenseRegistry(registry).revokeLane(_laneNumberOf(lane));
    }

    /// @inheritdoc IUsageChallenges
    function withdrawCredit(address to) external nonReentrant {
        if (to == address(0)) revert UsageChallenges_ZeroRecipient();
        uint256 amount = credit[msg.sender];
        if (amount == 0) revert UsageChallenges_NoCredit(msg.sender);
        credit[msg.sender] = 0;
        emit CreditPaid(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IUsageChallenges
    function challenge(uint256 challengeId) external view returns (Challenge memory) {
        return _challenges[challengeId];
    }

    /// @inheritdoc IUsageChallenges
    function accusation(uint256 challengeId) external view returns (Accusation memory) {
        return _accusations[challengeId];
    }

    function _open(uint32 licenseId, Challenge memory made) private returns (uint256 challengeId) {
        challengeId = ++challengeCount;
        made.challenger = msg.sender;
        made.answerableUntil = uint48(block.timestamp + answerSeconds);
        _challenges[challengeId] = made;
        ++openAgainst[licenseId];
        emit ChallengeOpened(
            challengeId, licenseId, made.laneNumber, made.kind, made.seq, made.epoch, msg.sender, made.answerableUntil
        );

        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), challengeBond);
        uint256 received = IERC20(token).balanceOf(address(this)) - balanceBefore;
        if (received != challengeBond) revert UsageChallenges_WrongDelta(challengeBond, received);
    }

    function _closeAnswered(uint256 challengeId, uint32 laneNumber) private {
        _close(challengeId, laneNumber, msg.sender);
        emit ChallengeAnswered(challengeId, msg.sender);
    }

    /// @dev Ends an open challenge; its bond is `winner`'s.
    function _close(uint256 challengeId, uint32 laneNumber, address winner) private returns (uint32 licenseId) {
        licenseId = ILicenseRegistry(registry).laneAt(laneNumber).licenseId;
        delete _challenges[challengeId];
        --openAgainst[licenseId];
        credit[winner] += challengeBond;
    }

    function _slashCheater(address lane) private returns (uint96 slashed) {
        (uint32 licenseId, uint32 laneNumber) = _requireChallengeable(lane);
        return _slashLane(licenseId, laneNumber, msg.sender);
    }

    function _slashLane(uint32 licenseId, uint32 laneNumber, address challenger) private returns (uint96 slashed) {
        laneSlashed[laneNumber] = true;
        uint256 agreed = ILicenseBonds(licenseBonds).agreedBond(licenseId);
        uint96 amount = uint96(MoneyMath.mulDivUp(agreed, laneSlashBps, MoneyMath.BPS));
        ILicenseRegistry(registry).revokeLane(laneNumber);
        slashed = ILicenseBonds(licenseBonds).slash(licenseId, amount, challenger);
        emit LaneSlashed(licenseId, laneNumber, challenger, slashed);
    }

    /// @dev That the lane exists, was not slashed, and its license's evidence horizon is not over.
    function _requireChallengeable(address lane) private view returns (uint32 licenseId, uint32 laneNumber) {
        laneNumber = _laneNumberOf(lane);
        if (laneSlashed[laneNumber]) revert UsageChallenges_AlreadySlashed(laneNumber);
        licenseId = ILicenseRegistry(registry).laneAt(laneNumber).licenseId;
        uint256 until = ILicenseRegistry(registry).license(licenseId).endsAt + evidenceHorizonSeconds;
        if (block.timestamp > until) revert UsageChallenges_PastHorizon(licenseId, until, block.timestamp);
    }

    /// @dev That a report should have counted a receipt and does not, and that no anchor made up for it. What was
    /// anchored by the end of a reported period can never change any more, so this needs no time to answer.
    function _requireUncounted(
        UsageReceipt calldata receipt,
        EpochReport calldata report,
        uint32 laneNumber,
        LaneHead calldata head
    ) private view {
        uint256 mergedByMs = receipt.issuedAtMs + uint256(maxMergeDelaySeconds) * 1000;
        uint256 periodEndMs = uint256(report.periodEnd) * 1000;
        if (mergedByMs > periodEndMs) revert UsageChallenges_NotMergeable(mergedByMs, periodEndMs);
        uint64 count = LaneEvidence.countIn(report, laneNumber, receipt.lane, head);
        if (receipt.seq < count) revert UsageChallenges_Counted(receipt.seq, count);
        count = ICheckpointAnchors(anchors).anchorAt(receipt.lane, report.periodEnd).count;
        if (receipt.seq < count) revert UsageChallenges_Anchored(receipt.seq, count);
    }

    function _requireOpen(uint256 challengeId, Kind kind) private view returns (Challenge memory found) {
        found = _challenges[challengeId];
        if (found.kind != kind) revert UsageChallenges_WrongKind(challengeId, found.kind);
    }

    function _requireSlashable(
        uint256 challengeId,
        Accusation memory accused,
        uint64 epoch,
        address[] calldata ackers
    ) private view {
        if (accused.slashableFrom == 0) revert UsageChallenges_NotAccused(challengeId);
        if (block.timestamp < accused.slashableFrom) {
            revert UsageChallenges_NotSlashableYet(accused.slashableFrom, block.timestamp);
        }
        bytes32 ackersHash = keccak256(abi.encode(ackers));
        if (ackersHash != accused.ackersHash) revert UsageChallenges_WrongAckers(ackersHash, accused.ackersHash);
        if (epoch != accused.epoch) revert UsageChallenges_WrongEpoch(epoch, accused.epoch);
        uint48 revokedAt = ILicenseRegistry(registry).laneRevokedAt(accused.laneNumber);
        if (revokedAt != 0) revert UsageChallenges_LaneCheated(accused.laneNumber, revokedAt);
    }

    function _laneNumberOf(address lane) private view returns (uint32) {
        (bool registered, uint32 laneNumber) = ILicenseRegistry(registry).laneNumberOf(lane);
        if (!registered) revert UsageChallenges_UnknownLane(lane);
        return laneNumber;
    }

    function _committee() private view returns (IOracleCommittee) {
        return IOracleCommittee(IUsageSettlement(settlement).committee());
    }

    function _domain() private view returns (bytes32) {
        return IUsageSettlement(settlement).domainSeparator();
    }

    /// @dev The neighbors that were built on a predicted address must name this one, and all the same others.
    function _requireNeighbors(
        address token_,
        address settlement_,
        address registry_,
        address anchors_,
        address licenseBonds_,
        uint32 maxMergeDelaySeconds_
    ) private view {
        address expected = ILicenseRegistry(registry_).token();
        if (token_ != expected) revert UsageChallenges_WrongToken(token_, expected);
        _requireWired("registry.challenges", ILicenseRegistry(registry_).challenges(), address(this));
        _requireWired("registry.bonds", ILicenseRegistry(registry_).bonds(), licenseBonds_);
        _requireWired("anchors.settlement", ICheckpointAnchors(anchors_).settlement(), settlement_);
        _requireWired("anchors.registry", ICheckpointAnchors(anchors_).registry(), registry_);
        _requireWired("licenseBonds.challenges", ILicenseBonds(licenseBonds_).challenges(), address(this));
        _requireWired("licenseBonds.settlement", ILicenseBonds(licenseBonds_).settlement(), settlement_);
        IRoyaltyEscrow escrow = IRoyaltyEscrow(IUsageSettlement(settlement_).escrow());
        _requireWired("escrow.registry", escrow.registry(), registry_);
        _requireWired("escrow.challenges", escrow.challenges(), address(this));
        uint32 delay = escrow.maxMergeDelaySeconds();
        if (maxMergeDelaySeconds_ != delay) revert UsageChallenges_WrongMergeDelay(maxMergeDelaySeconds_, delay);
    }

    function _requireWired(string memory what, address found, address expected) private pure {
        if (found != expected) revert UsageChallenges_Miswired(what, found, expected);
    }
}
