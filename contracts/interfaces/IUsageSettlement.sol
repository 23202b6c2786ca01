// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {EpochReport} from "../types/Report.sol";

/// @title One report per epoch, from signature to money
/// @notice submit (k of n) → dispute window → finalize (anyone). In between the guardian or the council may reject.
///
/// Safety: at most one pending report; epochs are contiguous and each report names the last finalized one; a
/// report can promise no more than the pool it leaves; a rejected report restores reservations exactly.
/// Liveness: nothing a third party can change between cut-off and submit reverts a quorum-valid report, and
/// finalize reads nothing that can change after submit.
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
    error UsageSettlement_PoolTooLarge(uint256 pool);
    error UsageSettlement_WrongReport(bytes32 given, bytes32 pending);
    error UsageSettlement_WindowOpen(uint256 finalizableAt, uint256 nowSeconds);
    error UsageSettlement_GuardianSpent(uint8 rejections);
    error UsageSettlement_BadDisputeWindow(uint32 given, uint32 below);

    /// @notice Post a report signed by a quorum of the epoch's signers (see IOracleCommittee.requireQuorum).
    function submit(EpochReport calldata report, bytes calldata signatures) external;

    /// @notice Guardian: reject the report while it is pending, at most three times per epoch.
    function reject(EpochReport calldata report, string calldata reason) external;

    /// @notice Council: reject the report while it is pending.
    function rejectByCouncil(EpochReport calldata report, string calldata reason) external;

    /// @notice Make the pending report final once its window has passed. Anyone may.
    function finalize(EpochReport calldata report) external;

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
    /// @notice Hash of the pending or finalized report of an epoch; 0 when there is none.
    function reportHash(uint64 epoch) external view returns (bytes32);
    function disputeWindowSeconds() external view returns (uint32);
    function noteMinimum() external view returns (uint96);
    function epochSeconds() external view returns (uint32);
    function domainSeparator() external view returns (bytes32);
    function hashReport(EpochReport calldata report) external pure returns (bytes32 structHash);
}
