// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IConsentLog} from "../interfaces/IConsentLog.sol";
import {ILicenseRegistry} from "../interfaces/ILicenseRegistry.sol";
import {IOperatorBonds} from "../interfaces/IOperatorBonds.sol";
import {IOracleCommittee} from "../interfaces/IOracleCommittee.sol";
import {IReportDisputes} from "../interfaces/IReportDisputes.sol";
import {IUsageSettlement} from "../interfaces/IUsageSettlement.sol";
import {CommitReveal} from "../libraries/CommitReveal.sol";
import {LaneEvidence} from "../libraries/LaneEvidence.sol";
import {LaneTree} from "../libraries/LaneTree.sol";
import {ReportHash} from "../libraries/ReportHash.sol";
import {Checkpoint, LaneHead} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title ReportProofs
/// @notice The proofs of {IReportDisputes} that stand by themselves, and the end that every proof leads to.
abstract contract ReportProofs is IReportDisputes, CommitReveal, ReentrancyGuardTransient {
    /// @inheritdoc IReportDisputes
    address public immutable settlement;
    /// @inheritdoc IReportDisputes
    address public immutable committee;
    /// @inheritdoc IReportDisputes
    address public immutable registry;
    /// @inheritdoc IReportDisputes
    address public immutable consentLog;
    /// @inheritdoc IReportDisputes
    address public immutable operatorBonds;

    /// @inheritdoc IReportDisputes
    mapping(bytes32 reportHash => address) public condemnedBy;

    constructor(address settlement_, address registry_, address consentLog_, address operatorBonds_) {
        if (settlement_ == address(0)) revert ReportDisputes_ZeroAddress("settlement");
        if (registry_ == address(0)) revert ReportDisputes_ZeroAddress("registry");
        if (consentLog_ == address(0)) revert ReportDisputes_ZeroAddress("consentLog");
        if (operatorBonds_ == address(0)) revert ReportDisputes_ZeroAddress("operatorBonds");
        _requireWired("settlement.disputes", IUsageSettlement(settlement_).disputes(), address(this));
        _requireWired("operatorBonds.disputes", IOperatorBonds(operatorBonds_).disputes(), address(this));
        settlement = settlement_;
        committee = IUsageSettlement(settlement_).committee();
        registry = registry_;
        consentLog = consentLog_;
        operatorBonds = operatorBonds_;
    }

    /// @inheritdoc IReportDisputes
    function laneFell(
        EpochReport calldata pending,
        bytes calldata signatures,
        EpochReport calldata finalized,
        ShownHead calldata finalizedHead,
        LaneHead calldata pendingHead,
        bytes32
    ) external nonReentrant committed {
        (bytes32 structHash,) = _requirePending(pending);
        // Which report came before is under the hash of the pending one; the settlement has checked it.
        bytes32 finalizedHash = ReportHash.hash(finalized);
        if (finalizedHash != pending.previousReportHash) {
            revert ReportDisputes_OtherReport(finalizedHash, pending.previousReportHash);
        }
        uint32 laneNumber = finalizedHead.laneNumber;
        address lane = _laneAt(laneNumber);
        _requireSignedHead(finalized.lanesRoot, finalized.laneCount, finalizedHead, lane);
        uint64 finalizedCount = finalizedHead.head.checkpoint.count;
        uint64 count = LaneEvidence.countIn(pending, laneNumber, lane, pendingHead);
        if (count >= finalizedCount) revert ReportDisputes_CountDidNotFall(finalizedCount, count);
        _condemn(pending, structHash, signatures, msg.sender, "lane fell");
    }

    /// @inheritdoc IReportDisputes
    function wrongConsent(EpochReport calldata pending, bytes calldata signatures) external nonReentrant {
        (bytes32 structHash,) = _requirePending(pending);
        if (!IUsageSettlement(settlement).checksCutoffBlock()) revert ReportDisputes_CutoffsUnchecked();
        bytes32 root = IConsentLog(consentLog).accumulatorAt(pending.cutoffBlock);
        if (pending.consentRoot == root) revert ReportDisputes_ConsentRootIsRight(root);
        _condemn(pending, structHash, signatures, msg.sender, "wrong consent root");
    }

    /// @inheritdoc IReportDisputes
    function doubleSigned(
        EpochReport calldata one,
        bytes calldata signature,
        EpochReport calldata other,
        bytes calldata otherSignature,
        bytes32
    ) external nonReentrant committed returns (address signer) {
        if (one.epoch != other.epoch || one.attempt != other.attempt) {
            revert ReportDisputes_DifferentAttempts(one.epoch, one.attempt, other.epoch, other.attempt);
        }
        bytes32 oneHash = ReportHash.hash(one);
        bytes32 otherHash = ReportHash.hash(other);
        if (oneHash == otherHash) revert ReportDisputes_SameReport(oneHash);
        bytes32 domain = _domain();
        signer = LaneEvidence.signerOf(domain, oneHash, signature);
        address otherSigner = LaneEvidence.signerOf(domain, otherHash, otherSignature);
        if (signer != otherSigner) revert ReportDisputes_DifferentSigners(signer, otherSigner);
        emit DoubleSigned(signer, one.epoch, one.attempt, oneHash, otherHash);
        IOperatorBonds(operatorBonds).slash(signer, msg.sender);
    }

    /// @inheritdoc IReportDisputes
    function slashSigners(EpochReport calldata condemned, bytes calldata signatures) external nonReentrant {
        bytes32 structHash = ReportHash.hash(condemned);
        address reporter = condemnedBy[structHash];
        if (reporter == address(0)) revert ReportDisputes_NotCondemned(structHash);
        _slash(condemned, structHash, signatures, reporter);
    }

    function _condemn(
        EpochReport calldata pending,
        bytes32 structHash,
        bytes calldata signatures,
        address reporter,
        string memory reason
    ) internal {
        condemnedBy[structHash] = reporter;
        emit ReportCondemned(structHash, reporter, reason);
        IUsageSettlement(settlement).rejectProven(pending, reason);
        _slash(pending, structHash, signatures, reporter);
    }

    function _slash(EpochReport calldata report, bytes32 structHash, bytes calldata signatures, address reporter)
        private
    {
        address[] memory signers = IOracleCommittee(committee).quorumSigners(
            report.epoch,
            report.signerSetVersion,
            MessageHashUtils.toTypedDataHash(_domain(), structHash),
            signatures
        );
        for (uint256 i; i < signers.length; ++i) {
            IOperatorBonds(operatorBonds).slash(signers[i], reporter);
        }
    }

    /// @dev As settlement.requirePending, without sending it the whole report.
    function _requirePending(EpochReport calldata report)
        internal
        view
        returns (bytes32 structHash, uint256 finalizableAt)
    {
        structHash = ReportHash.hash(report);
        IUsageSettlement.State memory current = IUsageSettlement(settlement).state();
        finalizableAt = current.finalizableAt;
        bytes32 expected;
        if (current.pending) expected = IUsageSettlement(settlement).reportHash(uint64(current.lastEpoch) + 1);
        if (structHash != expected) revert ReportDisputes_OtherReport(structHash, expected);
    }

    /// @dev That the leaf of this number is a checkpoint of this lane, signed by it.
    function _requireSignedHead(bytes32 lanesRoot, uint32 laneCount, ShownHead calldata shown, address lane)
        internal
        view
    {
        Checkpoint calldata checkpoint = shown.head.checkpoint;
        _requireLane(lane, checkpoint.lane);
        bytes32 leaf = LaneEvidence.requireSigned(_domain(), checkpoint, shown.laneSignature);
        LaneTree.requireLeaf(lanesRoot, laneCount, shown.laneNumber, leaf, shown.head.proof);
    }

    function _laneAt(uint32 laneNumber) internal view returns (address) {
        return ILicenseRegistry(registry).laneAt(laneNumber).lane;
    }

    function _domain() internal view returns (bytes32) {
        return IUsageSettlement(settlement).domainSeparator();
    }

    function _requireLane(address expected, address given) internal pure {
        if (expected != given) revert LaneEvidence.LaneEvidence_WrongLane(expected, given);
    }

    function _requireWired(string memory what, address found, address expected) internal pure {
        if (found != expected) revert ReportDisputes_Miswired(what, found, expected);
    }
}
