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
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title UsageSettlement
/// @notice The only caller of escrow and of issue. Rules and guarantees: {IUsageSettlement}.
contract UsageSettlement is IUsageSettlement, AccessManaged, EIP712, ReentrancyGuardTransient {
    uint256 private constant MAX_LINES = 100;
    uint256 private constant MAX_GUARDIAN_REJECTIONS = 3;

    /// @dev State and dispute window in one slot: every report reads both.
    struct Progress {
        uint32 lastEpoch;
        uint48 lastPeriodEnd;
        uint48 lastFinalizedBlock;
        uint48 finalizableAt;
        uint32 nextAttempt;
        uint32 disputeWindowSeconds;
        uint8 rejections;
        bool pending;
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
    /// @inheritdoc IUsageSettlement
    uint96 public noteMinimum;
    /// @inheritdoc IUsageSettlement
    mapping(uint64 epoch => bytes32) public reportHash;

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
        if (genesis == 0 || epochSeconds_ == 0) revert UsageSettlement_BadClock(genesis, epochSeconds_);
        committee = committee_;
        escrow = escrow_;
        splitter = splitter_;
        disputes = disputes_;
        windDown = windDown_;
        epochSeconds = epochSeconds_;
        checksCutoffBlock = checkCutoffHash;
        _progress.lastPeriodEnd = genesis;
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
        _progress.pending = true;
        _progress.finalizableAt = uint48(finalizableAt);
        reportHash[report.epoch] = structHash;
        emit ReportSubmitted(report.epoch, report.attempt, structHash, finalizableAt);

        uint256 contributorsShare = IRoyaltyEscrow(escrow).reserve(report.lines);
        uint256 promised = uint256(report.notesTotal) + report.reserveTotal;
        uint256 pool = IRoyaltySplitter(splitter).pool() + contributorsShare;
        if (promised > pool) revert UsageSettlement_OverPool(promised, pool);
        // Refused here, for the splitter would refuse it when it is too late to report anything else.
        if (pool > type(uint96).max) revert UsageSettlement_PoolTooLarge(pool);
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
    function finalize(EpochReport calldata report) external nonReentrant {
        Progress memory current = _progress;
        bytes32 structHash = _requirePending(current, report);
        if (block.timestamp < current.finalizableAt) {
            revert UsageSettlement_WindowOpen(current.finalizableAt, block.timestamp);
        }
        _progress = Progress({
            lastEpoch: uint32(report.epoch),
            lastPeriodEnd: uint48(report.periodEnd),
            lastFinalizedBlock: uint48(block.number),
            finalizableAt: 0,
            nextAttempt: 0,
            disputeWindowSeconds: current.disputeWindowSeconds,
            rejections: 0,
            pending: false
        });
        emit ReportFinalized(report.epoch, structHash, report.notesTotal, report.noteCount);

        IRoyaltyEscrow(escrow).draw(report.lines);
        IRoyaltySplitter(splitter).issue(2 * report.epoch, report.notesRoot, report.notesTotal, report.noteCount);
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
            lastFinalizedBlock: current.lastFinalizedBlock,
            finalizableAt: current.finalizableAt,
            nextAttempt: current.nextAttempt,
            rejections: current.rejections,
            pending: current.pending
        });
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
        current.pending = false;
        current.finalizableAt = 0;
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
        if (current.pending) revert UsageSettlement_ReportPending(uint48(expectedEpoch));
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
        if (!current.pending) revert UsageSettlement_NothingPending();
        structHash = ReportHash.hash(report);
        bytes32 pending = reportHash[uint64(current.lastEpoch) + 1];
        if (structHash != pending) revert UsageSettlement_WrongReport(structHash, pending);
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
