// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {EpochReport} from "../types/Report.sol";

/// @title One report per epoch, from signature to money
/// @notice submit (k of n) → dispute window → finalize (anyone). In between the guardian or the council may reject it,
/// and anyone may prove it wrong (see IReportDisputes).
///
/// Safety: at most one pending report; epochs are contiguous and each report names the last finalized one; a
/// report can promise no more than the pool it leaves; a rejected report restores reservations exactly; the reserve of a
/// report is issued once, and never from under a report that counts on it.
/// Liveness: nothing a third party can change between cut-off and submit reverts a quorum-valid report, and
/// finalize reads nothing that can change after submit but whether a dispute is open. Each dispute is answered, or
/// condemns the report, by anyone's call. When reports stop coming, the wind-down closes this contract for good.
interface IUsageSettlement {
    /// @param lastEpoch Last finalized epoch; 0 before the first.
    /// @param lastPeriodEnd Its period end in seconds; genesis before the first.
    /// @param lastFinalizedBlock Block in which it was finalized.
    /// @param finalizableAt When the pending report's dispute window ends.
    /// @param nextAttempt Lowest attempt the next submit may carry.
    /// @param rejections Guardian rejections of this epoch so far.
    /// @param pending Whether a report awaits finalization.
    struct State {
        uint48 lastEpoch;
        uint48 lastPeriodEnd;
        uint48 lastFinalizedBlock;
        uint48 finalizableAt;
        uint32 nextAttempt;
        uint8 rejections;
        bool pending;
    }

    event ReportSubmitted(uint64 indexed epoch, uint32 attempt, bytes32 indexed reportHash, uint256 finalizableAt);
    event ReportRejected(uint64 indexed epoch, uint32 attempt, bytes32 indexed reportHash, address by, string reason);
    event ReportFinalized(uint64 indexed epoch, bytes32 indexed reportHash, uint96 notesTotal, uint32 noteCount);
    event FinalizationHeld(bytes32 indexed reportHash, uint16 openDisputes);
    event FinalizationReleased(bytes32 indexed reportHash, uint16 openDisputes);
    event ReserveIssued(uint64 indexed epoch, bytes32 indexed reportHash, uint96 total, uint32 count);
    event Stopped();
    event DisputeWindowSet(uint32 seconds_);
    event NoteMinimumSet(uint96 amount);

    error UsageSettlement_ZeroAddress(string what);
    /// @notice A part names another neighbor than this deployment: an address was predicted wrongly.
    error UsageSettlement_Miswired(string what, address found, address expected);
    error UsageSettlement_BadClock(uint48 genesis, uint32 epochSeconds);
    error UsageSettlement_ReportPending(uint48 epoch);
    error UsageSettlement_NothingPending();
    error UsageSettlement_WrongEpoch(uint64 given, uint64 expected);
    error UsageSettlement_AttemptTooLow(uint32 given, uint32 lowest);
    error UsageSettlement_AttemptTooHigh(uint32 given);
    error UsageSettlement_WrongPrevious(bytes32 given, bytes32 expected);
    error UsageSettlement_PeriodNotOver(uint64 periodEnd, uint256 nowSeconds);
    error UsageSettlement_EpochTooShort(uint64 periodEnd, uint256 earliest);
    error UsageSettlement_BadCutoffBlock(uint64 cutoffBlock, uint256 blockNumber);
    error UsageSettlement_WrongCutoffHash(uint64 cutoffBlock, bytes32 given, bytes32 expected);
    error UsageSettlement_TooManyLines(uint256 count);
    error UsageSettlement_LinesNotAscending(uint32 previous, uint32 next);
    error UsageSettlement_BadTree(bytes32 root, uint96 total, uint32 count);
    error UsageSettlement_OverPool(uint256 promised, uint256 pool);
    error UsageSettlement_WrongReport(bytes32 given, bytes32 pending);
    error UsageSettlement_WindowOpen(uint256 finalizableAt, uint256 nowSeconds);
    error UsageSettlement_GuardianSpent(uint8 rejections);
    error UsageSettlement_OnlyDisputes(address caller);
    error UsageSettlement_OnlyWindDown(address caller);
    /// @notice Only the contracts that judge proofs may call this.
    error UsageSettlement_OnlyProof(address caller);
    error UsageSettlement_DisputeOpen(uint16 openDisputes);
    error UsageSettlement_NoDisputeOpen();
    error UsageSettlement_NotFinalized(uint64 epoch, uint64 lastEpoch);
    error UsageSettlement_ReserveAlreadyIssued(uint64 epoch);
    error UsageSettlement_ReserveNotDue(uint64 epoch);
    error UsageSettlement_Stopped();
    error UsageSettlement_BadDisputeWindow(uint32 given, uint32 below);

    /// @notice Post a report signed by a quorum of the epoch's signers (see IOracleCommittee.requireQuorum).
    function submit(EpochReport calldata report, bytes calldata signatures) external;

    /// @notice Guardian: reject the report while it is pending, at most three times per epoch.
    function reject(EpochReport calldata report, string calldata reason) external;

    /// @notice Council: reject the report while it is pending.
    function rejectByCouncil(EpochReport calldata report, string calldata reason) external;

    /// @notice Disputes: the pending report was proven wrong. Wind-down: nobody will finalize it any more. Does not
    /// count against the guardian.
    function rejectProven(EpochReport calldata report, string calldata reason) external;

    /// @notice Disputes: the pending report of this hash cannot be finalized before this is released as often as it was
    /// held. A rejection, by whomever, ends all of it.
    function holdFinalization(bytes32 structHash) external;

    /// @notice Disputes: one dispute of the pending report of this hash was answered. Reverts if another is pending.
    function releaseFinalization(bytes32 structHash) external;

    /// @notice Make the pending report final once its window has passed and no dispute is open. Anyone may.
    function finalize(EpochReport calldata report) external;

    /// @notice Turn the reserve of the last finalized report into notes, tree 2 x epoch + 1, while no report is pending.
    /// Anyone may when the committee that is to report next asks for it (issuesReserveFirst); the wind-down may at any
    /// time. Once per report. An empty reserve is issued all the same: it counts, though there is nothing to pay.
    function issueReserve(EpochReport calldata report) external;

    /// @notice Wind-down: no report is accepted any more. A pending one can still be finalized, or rejected.
    function stop() external;

    /// @notice Council: length of the dispute window for reports submitted from now on. Above 0, below an epoch.
    function setDisputeWindow(uint32 seconds_) external;

    /// @notice Council: smallest note worth issuing, in base units. Read by nodes at the cut-off block.
    function setNoteMinimum(uint96 amount) external;

    function committee() external view returns (address);
    function escrow() external view returns (address);
    function splitter() external view returns (address);
    /// @notice May prove a pending report wrong.
    function disputes() external view returns (address);
    /// @notice May close this settlement for good when reports stop coming.
    function windDown() external view returns (address);
    /// @notice Whether cut-off blocks are checked against this chain's numbers and hashes; off where block numbers are
    /// those of another chain.
    function checksCutoffBlock() external view returns (bool);
    function state() external view returns (State memory);
    /// @notice That a report is the pending one, or a finalized one; its hash. Reverts otherwise.
    function requirePending(EpochReport calldata report) external view returns (bytes32 structHash);
    function requireFinalized(EpochReport calldata report) external view returns (bytes32 structHash);
    /// @notice How often the pending report is held.
    function openDisputes() external view returns (uint16);
    /// @notice Last epoch whose reserve was issued; 0 if none was.
    function reserveIssuedEpoch() external view returns (uint64);
    /// @notice Seconds of the last submit, whatever became of its report, and of the last finalize. Before the first: of
    /// genesis, or of the deployment if that was later.
    function lastSubmittedAt() external view returns (uint48);
    function lastFinalizedAt() external view returns (uint48);
    /// @notice Whether the wind-down has closed this settlement.
    function stopped() external view returns (bool);
    /// @notice Hash of the pending or finalized report of an epoch; 0 when there is none.
    function reportHash(uint64 epoch) external view returns (bytes32);
    function disputeWindowSeconds() external view returns (uint32);
    function noteMinimum() external view returns (uint96);
    function epochSeconds() external view returns (uint32);
    function domainSeparator() external view returns (bytes32);
    function hashReport(EpochReport calldata report) external pure returns (bytes32 structHash);
}
