// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Contradiction, LaneHead} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";

/// @title Proofs that signers reported falsely
/// @notice A report proven wrong while it is pending is rejected, and whoever signed it loses the bond. Proofs are of
/// two kinds. Some stand by themselves: a lane's count fell, the consent root is not the log's, one signer signed two
/// reports. Others ask the signers to show what they must have held when they signed: the head of a lane, or the heads
/// that a line's units are the sum of. Those hold the report until somebody shows it; whoever cannot be answered by the
/// end of the dispute window condemns the report.
///
/// Safety: a strictly monotone signer is never slashed. That is one which
/// - signs one hash per (epoch, attempt);
/// - reports each lane by a checkpoint that the lane signed, or by a zero leaf while it counts nothing of it;
/// - never below the lane's head in the last finalized report, and never below what was anchored before the period's
///   end, unless it holds two statements of the lane that contradict each other at or below the anchored count;
/// - reports no more units of a license than the heads of its lanes sum to, and the accumulator of the cut-off block;
/// - and, within answerSeconds, shows the heads that it is asked for. Anyone can, with what nodes publish.
/// No proof reaches such a report: each function says why.
///
/// Safety, of challengers: a bond is lost only to whoever answers, and comes back whole when the report dies, whoever
/// killed it and why.
/// Liveness: a dispute must be opened while answerSeconds of the window are left, each lane and each line of a report
/// at most once, and at the window's end anybody can condemn what is not answered: disputes, however many, hold a
/// report no longer than that, unless nobody cares to end it. Answering costs nobody more than the bonds pay as long
/// as these are set above the gas of an answer: each lane shown is paid for once, by whoever asked for it. A dispute
/// window shorter than answerSeconds switches these questions off. While the token is paused none can be opened, and
/// no charge can be finalized either; proofs that stand by themselves move no token.
/// A guardian who rejects a report spares its signers the slash, but not the loss of the report.
interface IReportDisputes {
    /// @param bond What asking costs if it is answered.
    /// @param bondPerLane Added for each lane of the license when the units of a line are asked for.
    /// @param answerSeconds How much of the dispute window must be left for an answer.
    struct Settings {
        uint96 bond;
        uint96 bondPerLane;
        uint32 answerSeconds;
    }

    enum Question {
        Head,
        Units
    }

    enum Status {
        None,
        Open,
        Answered,
        Condemned,
        Void
    }

    /// @notice The opening of a lane's leaf, with the lane's signature (65 bytes r ‖ s ‖ v) of the checkpoint in it.
    struct ShownHead {
        uint32 laneNumber;
        LaneHead head;
        bytes laneSignature;
    }

    /// @param subject Number of the lane, or of the license.
    /// @param needed The least count that the head must have, or the units that heads must sum to.
    /// @param unitsShown Sum over the heads shown so far.
    struct Dispute {
        bytes32 reportHash;
        bytes32 lanesRoot;
        address challenger;
        uint96 bond;
        Question question;
        Status status;
        uint32 subject;
        uint32 laneCount;
        uint64 epoch;
        uint32 lanesShown;
        uint128 needed;
        uint256 unitsShown;
    }

    event DisputeOpened(
        bytes32 indexed disputeId,
        bytes32 indexed reportHash,
        address indexed challenger,
        Question question,
        uint32 subject,
        uint128 needed,
        uint96 bond
    );
    event HeadsShown(bytes32 indexed disputeId, address indexed by, uint256 heads, uint256 unitsShown);
    event DisputeAnswered(bytes32 indexed disputeId, address indexed by);
    event DisputeVoided(bytes32 indexed disputeId);
    event ReportCondemned(bytes32 indexed reportHash, address indexed reporter, string reason);
    event DoubleSigned(address indexed signer, uint64 indexed epoch, uint32 attempt, bytes32 one, bytes32 other);
    event CreditPaid(address indexed account, uint256 amount);

    error ReportDisputes_ZeroAddress(string what);
    error ReportDisputes_Miswired(string what, address found, address expected);
    error ReportDisputes_BadSettings(uint96 bond, uint96 bondPerLane, uint32 answerSeconds);
    error ReportDisputes_CountDidNotFall(uint64 before, uint64 afterwards);
    error ReportDisputes_CutoffsUnchecked();
    error ReportDisputes_ConsentRootIsRight(bytes32 root);
    error ReportDisputes_SameReport(bytes32 reportHash);
    error ReportDisputes_DifferentAttempts(uint64 epoch, uint32 attempt, uint64 otherEpoch, uint32 otherAttempt);
    error ReportDisputes_DifferentSigners(address signer, address other);
    error ReportDisputes_NotCondemned(bytes32 reportHash);
    error ReportDisputes_TooLateToAsk(uint256 finalizableAt, uint256 nowSeconds);
    error ReportDisputes_NoSuchLane(uint32 laneNumber, uint32 laneCount);
    error ReportDisputes_NoSuchLine(uint256 lineIndex, uint256 lines);
    error ReportDisputes_NothingToShow();
    error ReportDisputes_AlreadyAsked(bytes32 disputeId);
    error ReportDisputes_WrongDelta(uint256 expected, uint256 received);
    error ReportDisputes_NotOpen(bytes32 disputeId, Status status);
    error ReportDisputes_WrongQuestion(bytes32 disputeId, Question question);
    error ReportDisputes_WrongLane(uint32 given, uint32 expected);
    error ReportDisputes_HeadTooLow(uint64 count, uint128 needed);
    error ReportDisputes_ContradictionTooHigh(uint256 lowest, uint128 needed);
    error ReportDisputes_LaneOfAnother(uint32 laneNumber, uint32 licenseId);
    error ReportDisputes_ReportIsDead(bytes32 reportHash);
    error ReportDisputes_StillPending(bytes32 reportHash);
    /// @param expected The pending one, or the one before it, or the disputed one; 0 if nothing is pending.
    error ReportDisputes_OtherReport(bytes32 given, bytes32 expected);
    error ReportDisputes_WindowOpen(uint256 finalizableAt, uint256 nowSeconds);
    error ReportDisputes_NothingShown(bytes32 disputeId, address account);
    error ReportDisputes_NoCredit(address account);

    // -- proofs that stand by themselves -----------------------------------------------------------------------------

    /// @notice Prove that the pending report counts less of a lane than the last finalized one. By commit and reveal.
    ///
    /// Shows: under the finalized root the lane's number holds a checkpoint that the lane signed, and under the pending
    /// root it holds one of the same lane with a lower count, or nothing. The lane's signature is asked for because
    /// signers of a past report may have invented a head, which nobody could honestly report again. A monotone signer
    /// never goes below the last finalized head.
    /// @param signatures Those of the pending report, as for submit: at least k. Who is in there is slashed.
    /// @param finalizedHead The lane's head in the last finalized report.
    /// @param pendingHead Its leaf in the pending one; all zero where there is none.
    function laneFell(
        EpochReport calldata pending,
        bytes calldata signatures,
        EpochReport calldata finalized,
        ShownHead calldata finalizedHead,
        LaneHead calldata pendingHead,
        bytes32 salt
    ) external;

    /// @notice Prove that the pending report's consent root is not the consent log's accumulator at its cut-off block.
    /// Only where the settlement checks cut-off blocks. No commitment: anyone can see it from the report alone.
    ///
    /// The log cannot change at a block that lies in the past, and submit accepts no other; a monotone signer has read
    /// it there. A chain that replaces more blocks than signers wait for breaks this, as it breaks all else.
    function wrongConsent(EpochReport calldata pending, bytes calldata signatures) external;

    /// @notice Prove that somebody signed two reports with one epoch and attempt, at any time, under any version of the
    /// committee, submitted or not. The signer is slashed; no report is touched. By commit and reveal.
    ///
    /// A monotone signer signs one hash per (epoch, attempt). Signatures for another chain or settlement recover to
    /// nobody with a bond.
    /// @param signature 65 bytes r ‖ s ‖ v.
    function doubleSigned(
        EpochReport calldata one,
        bytes calldata signature,
        EpochReport calldata other,
        bytes calldata otherSignature,
        bytes32 salt
    ) external returns (address signer);

    /// @notice Slash signers of a report that was condemned with fewer of its signatures. The reward goes to whoever
    /// condemned it.
    function slashSigners(EpochReport calldata condemned, bytes calldata signatures) external;

    // -- questions ---------------------------------------------------------------------------------------------------

    /// @notice Ask for the head of a lane in the pending report. The sender has approved the bond.
    ///
    /// Unanswered it shows: the root holds no checkpoint of this lane that the lane signed, with at least the count that
    /// was anchored before the period's end, and nobody knows a contradiction that would excuse a lower one. Anchors in
    /// the period's last second do not bind: a chain with several blocks a second might take them after the cut-off.
    /// @return disputeId keccak256(abi.encode(reportHash, question, laneNumber)).
    function disputeHead(EpochReport calldata pending, uint32 laneNumber) external returns (bytes32 disputeId);

    /// @notice Ask for the heads behind the units of one line of the pending report. The sender has approved bond +
    /// bondPerLane times the lanes registered for that license.
    ///
    /// Unanswered it shows: the license's lanes never signed for that many units, or the root does not hold what they
    /// signed. A monotone signer holds each head with its signature.
    /// @return disputeId keccak256(abi.encode(reportHash, question, licenseId)).
    function disputeUnits(EpochReport calldata pending, uint256 lineIndex) external returns (bytes32 disputeId);

    // -- answers -----------------------------------------------------------------------------------------------------

    /// @notice Show the head that was asked for, with the count that is needed. The bond is credited to the sender.
    function answerHead(bytes32 disputeId, ShownHead calldata shown) external;

    /// @notice Show a head with a lower count, and two histories that the lane signed: a fork, two receipts of one seq, or
    /// two checkpoints that cannot both be true. The lower part of it is about at most the count that is needed: what a
    /// lane contradicts further up excuses nothing. A node that counts one history up to where another parts from it
    /// holds both, and so this proof.
    function answerHeadByContradiction(
        bytes32 disputeId,
        ShownHead calldata shown,
        Contradiction calldata contradiction
    ) external;

    /// @notice Show heads of the license's lanes, in one call or over several, by one sender or many, in any order.
    /// Lanes shown before are skipped, so nobody can spoil an answer by showing a part of it first. Once they sum to
    /// the line's units, the dispute is over: each lane shown has earned bondPerLane, and the rest of the bond is
    /// credited to whoever showed the last. Zero leaves show nothing and are not accepted.
    function answerUnits(bytes32 disputeId, ShownHead[] calldata shown) external;

    /// @notice Credit what an account earned by showing lanes that somebody else completed.
    function creditShown(bytes32 disputeId, address account) external;

    // -- ends --------------------------------------------------------------------------------------------------------

    /// @notice After the dispute window, with a dispute unanswered: the report is rejected, its signers are slashed, the
    /// challenger gets the bond back and the reward. Anyone may call. Until then answers are still good.
    function condemn(bytes32 disputeId, EpochReport calldata pending, bytes calldata signatures) external;

    /// @notice Credit the bond of an open dispute back to its challenger, once its report is dead otherwise: rejected by
    /// the guardian or the council, voided, or condemned for something else. A report that comes again in a later
    /// attempt is another one, and can be disputed anew.
    function voidDispute(bytes32 disputeId) external;

    /// @notice Pay what is credited to an account, to that account. Anyone may call.
    function payCredit(address account) external returns (uint256 amount);

    function token() external view returns (address);
    function settlement() external view returns (address);
    function committee() external view returns (address);
    function registry() external view returns (address);
    function anchors() external view returns (address);
    function consentLog() external view returns (address);
    function operatorBonds() external view returns (address);
    function settings() external view returns (Settings memory);
    /// @dev Status None if it was never opened.
    function dispute(bytes32 disputeId) external view returns (Dispute memory);
    /// @notice What asking for a line of this license costs now.
    function unitsBond(uint32 licenseId) external view returns (uint96);
    /// @notice Lanes that an account showed in a dispute of units and was not credited for yet.
    function lanesShownBy(bytes32 disputeId, address account) external view returns (uint32);
    /// @notice Who proved a report wrong; zero if nobody did.
    function condemnedBy(bytes32 reportHash) external view returns (address);
    function credit(address account) external view returns (uint256);
}
