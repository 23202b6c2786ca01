// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IOracleCommittee} from "./interfaces/IOracleCommittee.sol";
import {IRoyaltyEscrow} from "./interfaces/IRoyaltyEscrow.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {ReportHash} from "./libraries/ReportHash.sol";
import {EpochReport, ReportLine} from "./types/Report.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title UsageSettlement
/// @notice The only caller of escrow's reserve, release and draw and of splitter's issue. Rules and guarantees: {IUsageSettlement}.
contract UsageSettlement is IUsageSettlement, AccessManaged, EIP712, ReentrancyGuardTransient {
    uint256 private constant MAX_LINES = 100;
    uint256 private constant MAX_GUARDIAN_REJECTIONS = 3;

    /// @dev All that a submit reads and writes, in one slot. A report is pending while finalizableAt is not 0.
    struct Progress {
        uint32 lastEpoch;
        uint40 lastPeriodEnd;
        uint40 finalizableAt;
        uint40 lastSubmittedAt;
        uint32 nextAttempt;
        uint32 disputeWindowSeconds;
        uint16 openDisputes;
        uint8 rejections;
        bool stopped;
    }

    /// @dev What only finalizing and issuing the reserve write.
    struct Finality {
        uint40 lastFinalizedAt;
        uint40 lastFinalizedBlock;
        uint32 reserveIssuedEpoch;
    }

    /// @inheritdoc IUsageSettlement
    address public immutable committee;
    /// @inheritdoc IUsageSettlement
    address public immutable escrow;
    /// @inheritdoc IUsageSettlement
    address public immutable splitter;
    /// @inheritdoc IUsageSettlement
    address public immutable disputes;
    /// @inheritdoc IUsageSettlement
    address public immutable windDown;
    /// @inheritdoc IUsageSettlement
    uint32 public immutable epochSeconds;
    /// @inheritdoc IUsageSettlement
    bool public immutable checksCutoffBlock;

    Progress private _progress;
    Finality private _finality;
    /// @inheritdoc IUsageSettlement
    uint96 public noteMinimum;
    /// @inheritdoc IUsageSettlement
    mapping(uint64 epoch => bytes32) public reportHash;

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert UsageSettlement_OnlyDisputes(msg.sender);
        _;
    }

    /// @param genesis Start of the first epoch, in seconds of chain time.
    /// @param checkCutoffHash False only where block.number and blockhash are another chain's.
    constructor(
        address authority,
        address committee_,
        address escrow_,
        address splitter_,
        address disputes_,
        address windDown_,
        uint48 genesis,
        uint32 epochSeconds_,
        uint32 disputeWindowSeconds_,
        uint96 noteMinimum_,
        bool checkCutoffHash
    ) AccessManaged(authority) EIP712("Usufruct Settlement", "1") {
        if (authority == address(0)) revert UsageSettlement_ZeroAddress("authority");
        if (committee_ == address(0)) revert UsageSettlement_ZeroAddress("committee");
        if (escrow_ == address(0)) revert UsageSettlement_ZeroAddress("escrow");
        if (splitter_ == address(0)) revert UsageSettlement_ZeroAddress("splitter");
        if (disputes_ == address(0)) revert UsageSettlement_ZeroAddress("disputes");
        if (windDown_ == address(0)) revert UsageSettlement_ZeroAddress("windDown");
        if (genesis == 0 || genesis > type(uint40).max || epochSeconds_ == 0) revert UsageSettlement_BadClock(genesis, epochSeconds_);
        committee = committee_;
        escrow = escrow_;
        splitter = splitter_;
        disputes = disputes_;
        windDown = windDown_;
        epochSeconds = epochSeconds_;
        checksCutoffBlock = checkCutoffHash;
        _progress.lastPeriodEnd = uint40(genesis);
        // Until the first report the clock of the wind-down runs from the first day that could have had one.
        uint40 start = uint40(Math.max(genesis, block.timestamp));
        _progress.lastSubmittedAt = start;
        _finality.lastFinalizedAt = start;
        _setDisputeWindow(disputeWindowSeconds_);
        _setNoteMinimum(noteMinimum_);
        // The others were built on predicted addresses, and this is the last of those that hold or move buyers' and
        // contributors' money: now it shows whether they came true. Those that come after check this one themselves.
        _requireWired("committee.settlement", IOracleCommittee(committee_).settlement(), address(this));
        _requireWired("escrow.settlement", IRoyaltyEscrow(escrow_).settlement(), address(this));
        _requireWired("escrow.splitter", IRoyaltyEscrow(escrow_).splitter(), splitter_);
        _requireWired("escrow.windDown", IRoyaltyEscrow(escrow_).windDown(), windDown_);
        _requireWired("splitter.settlement", IRoyaltySplitter(splitter_).settlement(), address(this));
        _requireWired("splitter.escrow", IRoyaltySplitter(splitter_).escrow(), escrow_);
        _requireWired("splitter.windDown", IRoyaltySplitter(splitter_).windDown(), windDown_);
        _requireWired("splitter.registry", IRoyaltySplitter(splitter_).registry(), IRoyaltyEscrow(escrow_).registry());
    }

    /// @inheritdoc IUsageSettlement
    function submit(EpochReport calldata report, bytes calldata signatures) external nonReentrant {
        Progress memory current = _progress;
        _requireNext(current, report);
        _requireAscending(report.lines);
        _requireTree(report.notesRoot, report.notesTotal, report.noteCount);
        _requireTree(report.reserveRoot, report.reserveTotal, report.reserveCount);
        bytes32 structHash = ReportHash.hash(report);
        IOracleCommittee(committee).requireQuorum(
            report.epoch, report.signerSetVersion, _hashTypedDataV4(structHash), signatures
        );

        uint256 finalizableAt = block.timestamp + current.disputeWindowSeconds;
        _progress.finalizableAt = uint40(finalizableAt);
        _progress.lastSubmittedAt = uint40(block.timestamp);
        reportHash[report.epoch] = structHash;
        emit ReportSubmitted(report.epoch, report.attempt, structHash, finalizableAt);

        uint256 contributorsShare = IRoyaltyEscrow(escrow).reserve(report.lines);
        uint256 promised = uint256(report.notesTotal) + report.reserveTotal;
        uint256 pool = IRoyaltySplitter(splitter).pool() + contributorsShare;
        if (promised > pool) revert UsageSettlement_OverPool(promised, pool);
    }

    /// @inheritdoc IUsageSettlement
    function reject(EpochReport calldata report, string calldata reason) external restricted nonReentrant {
        Progress memory current = _progress;
        if (current.rejections >= MAX_GUARDIAN_REJECTIONS) revert UsageSettlement_GuardianSpent(current.rejections);
        ++current.rejections;
        _reject(current, report, reason);
    }

    /// @inheritdoc IUsageSettlement
    function rejectByCouncil(EpochReport calldata report, string calldata reason) external restricted nonReentrant {
        _reject(_progress, report, reason);
    }

    /// @inheritdoc IUsageSettlement
    function rejectProven(EpochReport calldata report, string calldata reason) external nonReentrant {
        if (msg.sender != disputes && msg.sender != windDown) revert UsageSettlement_OnlyProof(msg.sender);
        _reject(_progress, report, reason);
    }

    /// @inheritdoc IUsageSettlement
    function holdFinalization(bytes32 structHash) external onlyDisputes {
        _requirePendingHash(structHash);
        emit FinalizationHeld(structHash, ++_progress.openDisputes);
    }

    /// @inheritdoc IUsageSettlement
    function releaseFinalization(bytes32 structHash) external onlyDisputes {
        _requirePendingHash(structHash);
        if (_progress.openDisputes == 0) revert UsageSettlement_NoDisputeOpen();
        emit FinalizationReleased(structHash, --_progress.openDisputes);
    }

    /// @inheritdoc IUsageSettlement
    function finalize(EpochReport calldata report) external nonReentrant {
        Progress memory current = _progress;
        bytes32 structHash = _requirePending(current, report);
        if (block.timestamp < current.finalizableAt) {
            revert UsageSettlement_WindowOpen(current.finalizableAt, block.timestamp);
        }
        if (current.openDisputes != 0) revert UsageSettlement_DisputeOpen(current.openDisputes);
        current.lastEpoch = uint32(report.epoch);
        current.lastPeriodEnd = uint40(report.periodEnd);
        current.finalizableAt = 0;
        current.nextAttempt = 0;
        current.rejections = 0;
        _progress = current;
        _finality.lastFinalizedAt = uint40(block.timestamp);
        _finality.lastFinalizedBlock = uint40(block.number);
        emit ReportFinalized(report.epoch, structHash, report.notesTotal, report.noteCount);

        IRoyaltyEscrow(escrow).draw(report.lines);
        IRoyaltySplitter(splitter).issue(2 * report.epoch, report.notesRoot, report.notesTotal, report.noteCount);
    }

    /// @inheritdoc IUsageSettlement
    function issueReserve(EpochReport calldata report) external nonReentrant {
        Progress memory current = _progress;
        uint32 lastEpoch = current.lastEpoch;
        // A pending report was measured against a pool that still holds this reserve.
        if (current.finalizableAt != 0) revert UsageSettlement_ReportPending(uint48(lastEpoch) + 1);
        if (report.epoch != lastEpoch) revert UsageSettlement_WrongEpoch(report.epoch, lastEpoch);
        bytes32 structHash = _requireFinalized(lastEpoch, report);
        if (_finality.reserveIssuedEpoch == lastEpoch) revert UsageSettlement_ReserveAlreadyIssued(lastEpoch);
        if (msg.sender != windDown && !IOracleCommittee(committee).issuesReserveFirst(uint64(lastEpoch) + 1)) {
            revert UsageSettlement_ReserveNotDue(lastEpoch);
        }
        _finality.reserveIssuedEpoch = lastEpoch;
        emit ReserveIssued(lastEpoch, structHash, report.reserveTotal, report.reserveCount);

        IRoyaltySplitter(splitter).issue(
            2 * report.epoch + 1, report.reserveRoot, report.reserveTotal, report.reserveCount
        );
    }

    /// @inheritdoc IUsageSettlement
    function stop() external {
        if (msg.sender != windDown) revert UsageSettlement_OnlyWindDown(msg.sender);
        _progress.stopped = true;
        emit Stopped();
    }

    /// @inheritdoc IUsageSettlement
    function setDisputeWindow(uint32 seconds_) external restricted {
        _setDisputeWindow(seconds_);
    }

    /// @inheritdoc IUsageSettlement
    function setNoteMinimum(uint96 amount) external restricted {
        _setNoteMinimum(amount);
    }

    /// @inheritdoc IUsageSettlement
    function state() external view returns (State memory) {
        Progress memory current = _progress;
        return State({
            lastEpoch: current.lastEpoch,
            lastPeriodEnd: current.lastPeriodEnd,
            lastFinalizedBlock: _finality.lastFinalizedBlock,
            finalizableAt: current.finalizableAt,
            nextAttempt: current.nextAttempt,
            rejections: current.rejections,
            pending: current.finalizableAt != 0
        });
    }

    /// @inheritdoc IUsageSettlement
    function requirePending(EpochReport calldata report) external view returns (bytes32 structHash) {
        return _requirePending(_progress, report);
    }

    /// @inheritdoc IUsageSettlement
    function requireFinalized(EpochReport calldata report) external view returns (bytes32 structHash) {
        return _requireFinalized(_progress.lastEpoch, report);
    }

    /// @inheritdoc IUsageSettlement
    function openDisputes() external view returns (uint16) {
        return _progress.openDisputes;
    }

    /// @inheritdoc IUsageSettlement
    function reserveIssuedEpoch() external view returns (uint64) {
        return _finality.reserveIssuedEpoch;
    }

    /// @inheritdoc IUsageSettlement
    function lastSubmittedAt() external view returns (uint48) {
        return _progress.lastSubmittedAt;
    }

    /// @inheritdoc IUsageSettlement
    function lastFinalizedAt() external view returns (uint48) {
        return _finality.lastFinalizedAt;
    }

    /// @inheritdoc IUsageSettlement
    function stopped() external view returns (bool) {
        return _progress.stopped;
    }

    /// @inheritdoc IUsageSettlement
    function disputeWindowSeconds() external view returns (uint32) {
        return _progress.disputeWindowSeconds;
    }

    /// @inheritdoc IUsageSettlement
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc IUsageSettlement
    function hashReport(EpochReport calldata report) external pure returns (bytes32 structHash) {
        return ReportHash.hash(report);
    }

    function _reject(Progress memory current, EpochReport calldata report, string calldata reason) private {
        bytes32 structHash = _requirePending(current, report);
        current.finalizableAt = 0;
        current.openDisputes = 0;
        current.nextAttempt = report.attempt + 1;
        _progress = current;
        delete reportHash[report.epoch];
        emit ReportRejected(report.epoch, report.attempt, structHash, msg.sender, reason);

        IRoyaltyEscrow(escrow).release(report.lines);
    }

    function _setDisputeWindow(uint32 seconds_) private {
        if (seconds_ == 0 || seconds_ >= epochSeconds) {
            revert UsageSettlement_BadDisputeWindow(seconds_, epochSeconds);
        }
        _progress.disputeWindowSeconds = seconds_;
        emit DisputeWindowSet(seconds_);
    }

    function _setNoteMinimum(uint96 amount) private {
        noteMinimum = amount;
        emit NoteMinimumSet(amount);
    }

    /// @dev That this report follows the last finalized one, and no rejected attempt.
    function _requireNext(Progress memory current, EpochReport calldata report) private view {
        uint32 lastEpoch = current.lastEpoch;
        uint64 expectedEpoch = uint64(lastEpoch) + 1;
        if (current.stopped) revert UsageSettlement_Stopped();
        if (current.finalizableAt != 0) revert UsageSettlement_ReportPending(uint48(expectedEpoch));
        if (report.epoch != expectedEpoch) revert UsageSettlement_WrongEpoch(report.epoch, expectedEpoch);
        if (report.attempt < current.nextAttempt) {
            revert UsageSettlement_AttemptTooLow(report.attempt, current.nextAttempt);
        }
        // No attempt could follow it, so it could not be rejected.
        if (report.attempt == type(uint32).max) revert UsageSettlement_AttemptTooHigh(report.attempt);
        bytes32 previous = reportHash[lastEpoch];
        if (report.previousReportHash != previous) {
            revert UsageSettlement_WrongPrevious(report.previousReportHash, previous);
        }
        if (report.periodEnd > block.timestamp) {
            revert UsageSettlement_PeriodNotOver(report.periodEnd, block.timestamp);
        }
        uint256 earliest = uint256(current.lastPeriodEnd) + epochSeconds;
        if (report.periodEnd < earliest) revert UsageSettlement_EpochTooShort(report.periodEnd, earliest);
        if (checksCutoffBlock) _requireCutoff(report.cutoffBlock, report.cutoffBlockHash);
    }

    function _requireCutoff(uint64 cutoffBlock, bytes32 cutoffBlockHash) private view {
        if (cutoffBlock >= block.number) revert UsageSettlement_BadCutoffBlock(cutoffBlock, block.number);
        // The chain forgets hashes after 256 blocks; an older cut-off stands on the signers alone.
        bytes32 expected = blockhash(cutoffBlock);
        if (expected != 0 && cutoffBlockHash != expected) {
            revert UsageSettlement_WrongCutoffHash(cutoffBlock, cutoffBlockHash, expected);
        }
    }

    function _requirePending(Progress memory current, EpochReport calldata report)
        private
        view
        returns (bytes32 structHash)
    {
        if (current.finalizableAt == 0) revert UsageSettlement_NothingPending();
        structHash = ReportHash.hash(report);
        bytes32 pending = reportHash[uint64(current.lastEpoch) + 1];
        if (structHash != pending) revert UsageSettlement_WrongReport(structHash, pending);
    }

    /// @dev Whoever holds or releases says which report: one that was rejected meanwhile is no longer pending.
    function _requirePendingHash(bytes32 structHash) private view {
        Progress memory current = _progress;
        if (current.finalizableAt == 0) revert UsageSettlement_NothingPending();
        bytes32 pending = reportHash[uint64(current.lastEpoch) + 1];
        if (structHash != pending) revert UsageSettlement_WrongReport(structHash, pending);
    }

    /// @dev Epoch 0 has no report and a hash of 0, which nothing hashes to.
    function _requireFinalized(uint32 lastEpoch, EpochReport calldata report)
        private
        view
        returns (bytes32 structHash)
    {
        if (report.epoch > lastEpoch) revert UsageSettlement_NotFinalized(report.epoch, lastEpoch);
        structHash = ReportHash.hash(report);
        bytes32 finalized = reportHash[report.epoch];
        if (structHash != finalized) revert UsageSettlement_WrongReport(structHash, finalized);
    }

    /// @dev Ascending ids are distinct licenses, so no account is held or drawn twice; id 0 is none.
    function _requireAscending(ReportLine[] calldata lines) private pure {
        if (lines.length > MAX_LINES) revert UsageSettlement_TooManyLines(lines.length);
        uint32 previous;
        for (uint256 i; i < lines.length; ++i) {
            uint32 licenseId = lines[i].licenseId;
            if (licenseId <= previous) revert UsageSettlement_LinesNotAscending(previous, licenseId);
            previous = licenseId;
        }
    }

    /// @dev Nothing to pay has one encoding, and money cannot be set aside for nobody.
    function _requireTree(bytes32 root, uint96 total, uint32 count) private pure {
        bool empty = count == 0;
        if ((root == 0) != empty || (total == 0) != empty) revert UsageSettlement_BadTree(root, total, count);
    }

    function _requireWired(string memory what, address found, address expected) private pure {
        if (found != expected) revert UsageSettlement_Miswired(what, found, expected);
    }
}
