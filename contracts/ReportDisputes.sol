// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ReportProofs} from "./disputes/ReportProofs.sol";
import {ICheckpointAnchors} from "./interfaces/ICheckpointAnchors.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IReportDisputes} from "./interfaces/IReportDisputes.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {LaneEvidence} from "./libraries/LaneEvidence.sol";
import {LaneTree} from "./libraries/LaneTree.sol";
import {LaneRegistration} from "./types/License.sol";
import {Contradiction, SignedCheckpoint} from "./types/Receipt.sol";
import {EpochReport} from "./types/Report.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title ReportDisputes
/// @notice Asks signers to show what they must have held when they signed. Proofs that need no answer: {ReportProofs}.
/// Rules and guarantees of both: {IReportDisputes}.
contract ReportDisputes is ReportProofs {
    using SafeERC20 for IERC20;

    /// @inheritdoc IReportDisputes
    address public immutable token;
    /// @inheritdoc IReportDisputes
    address public immutable anchors;
    uint96 private immutable _bond;
    uint96 private immutable _bondPerLane;
    uint32 private immutable _answerSeconds;

    /// @inheritdoc IReportDisputes
    mapping(bytes32 disputeId => mapping(address account => uint32)) public lanesShownBy;
    /// @inheritdoc IReportDisputes
    mapping(address account => uint256) public credit;
    mapping(bytes32 disputeId => Dispute) private _disputes;
    /// @dev One bit per lane number.
    mapping(bytes32 disputeId => mapping(uint256 word => uint256)) private _shown;
    /// @dev The settlement is told of the first and the last only, so that no number of disputes fills its counter.
    mapping(bytes32 reportHash => uint256) private _open;

    constructor(
        address token_,
        address settlement_,
        address registry_,
        address anchors_,
        address consentLog_,
        address operatorBonds_,
        Settings memory settings_
    ) ReportProofs(settlement_, registry_, consentLog_, operatorBonds_) {
        if (token_ == address(0)) revert ReportDisputes_ZeroAddress("token");
        if (anchors_ == address(0)) revert ReportDisputes_ZeroAddress("anchors");
        // Asking must not be free, and answering must not be a race.
        if (settings_.bond == 0 || settings_.bondPerLane == 0 || settings_.answerSeconds == 0) {
            revert ReportDisputes_BadSettings(settings_.bond, settings_.bondPerLane, settings_.answerSeconds);
        }
        _requireWired("registry.token", ILicenseRegistry(registry_).token(), token_);
        token = token_;
        anchors = anchors_;
        _bond = settings_.bond;
        _bondPerLane = settings_.bondPerLane;
        _answerSeconds = settings_.answerSeconds;
    }

    // -- questions ---------------------------------------------------------------------------------------------------

    /// @inheritdoc IReportDisputes
    function disputeHead(EpochReport calldata pending, uint32 laneNumber)
        external
        nonReentrant
        returns (bytes32 disputeId)
    {
        uint32 laneCount = ILicenseRegistry(registry).laneCount();
        if (laneNumber >= laneCount) revert ReportDisputes_NoSuchLane(laneNumber, laneCount);
        address lane = _laneAt(laneNumber);
        uint64 needed = ICheckpointAnchors(anchors).anchorAt(lane, pending.periodEnd - 1).count;
        // Registered after the cut-off, and not bound by an anchor: the report need not know of it.
        if (laneNumber >= pending.laneCount && needed == 0) revert ReportDisputes_NothingToShow();
        return _ask(pending, Question.Head, laneNumber, needed, _bond);
    }

    /// @inheritdoc IReportDisputes
    function disputeUnits(EpochReport calldata pending, uint256 lineIndex)
        external
        nonReentrant
        returns (bytes32 disputeId)
    {
        if (lineIndex >= pending.lines.length) {
            revert ReportDisputes_NoSuchLine(lineIndex, pending.lines.length);
        }
        uint32 licenseId = pending.lines[lineIndex].licenseId;
        uint128 needed = pending.lines[lineIndex].cumulativeUnits;
        if (needed == 0) revert ReportDisputes_NothingToShow();
        return _ask(pending, Question.Units, licenseId, needed, unitsBond(licenseId));
    }

    // -- answers -----------------------------------------------------------------------------------------------------

    /// @inheritdoc IReportDisputes
    function answerHead(bytes32 disputeId, ShownHead calldata shown) external nonReentrant {
        Dispute storage asked = _requireOpen(disputeId, Question.Head);
        uint64 count = _countShown(asked, shown, _laneAt(asked.subject));
        if (count < asked.needed) revert ReportDisputes_HeadTooLow(count, asked.needed);
        _answerHead(disputeId, asked);
    }

    /// @inheritdoc IReportDisputes
    function answerHeadByContradiction(
        bytes32 disputeId,
        ShownHead calldata shown,
        Contradiction calldata contradiction
    ) external nonReentrant {
        Dispute storage asked = _requireOpen(disputeId, Question.Head);
        address lane = _laneAt(asked.subject);
        _countShown(asked, shown, lane);
        (address guilty, uint256 lowest) = _requireContradiction(contradiction);
        _requireLane(lane, guilty);
        if (lowest > asked.needed) revert ReportDisputes_ContradictionTooHigh(lowest, asked.needed);
        _answerHead(disputeId, asked);
    }

    /// @inheritdoc IReportDisputes
    function answerUnits(bytes32 disputeId, ShownHead[] calldata shown) external nonReentrant {
        Dispute storage asked = _requireOpen(disputeId, Question.Units);
        (uint32 added, uint256 units) = _showLanes(disputeId, asked, shown);
        uint32 own = lanesShownBy[disputeId][msg.sender] + added;
        asked.lanesShown += added;
        asked.unitsShown += units;
        emit HeadsShown(disputeId, msg.sender, added, asked.unitsShown);
        if (asked.unitsShown < asked.needed) {
            lanesShownBy[disputeId][msg.sender] = own;
            return;
        }
        delete lanesShownBy[disputeId][msg.sender];
        // Every lane shown was registered when the bond was counted; lanes of a report that says otherwise, registered
        // since, may outnumber it: then this reverts, and nothing is shown.
        credit[msg.sender] += asked.bond - _bondPerLane * uint96(asked.lanesShown - own);
        _close(disputeId, asked);
    }

    /// @inheritdoc IReportDisputes
    function creditShown(bytes32 disputeId, address account) external {
        Status status = _disputes[disputeId].status;
        if (status != Status.Answered) revert ReportDisputes_NotOpen(disputeId, status);
        uint32 lanes = lanesShownBy[disputeId][account];
        if (lanes == 0) revert ReportDisputes_NothingShown(disputeId, account);
        delete lanesShownBy[disputeId][account];
        credit[account] += uint256(_bondPerLane) * lanes;
    }

    // -- ends --------------------------------------------------------------------------------------------------------

    /// @inheritdoc IReportDisputes
    function condemn(bytes32 disputeId, EpochReport calldata pending, bytes calldata signatures)
        external
        nonReentrant
    {
        Dispute storage asked = _disputes[disputeId];
        if (asked.status != Status.Open) revert ReportDisputes_NotOpen(disputeId, asked.status);
        (bytes32 structHash, uint256 finalizableAt) = _requirePending(pending);
        if (structHash != asked.reportHash) revert ReportDisputes_OtherReport(structHash, asked.reportHash);
        if (block.timestamp < finalizableAt) revert ReportDisputes_WindowOpen(finalizableAt, block.timestamp);
        asked.status = Status.Condemned;
        credit[asked.challenger] += asked.bond;
        string memory reason = asked.question == Question.Head ? "head not shown" : "units not shown";
        _condemn(pending, structHash, signatures, asked.challenger, reason);
    }

    /// @inheritdoc IReportDisputes
    function voidDispute(bytes32 disputeId) external {
        Dispute storage asked = _disputes[disputeId];
        if (asked.status != Status.Open) revert ReportDisputes_NotOpen(disputeId, asked.status);
        // Held while it was open, the report was not finalized.
        if (_isAlive(asked)) revert ReportDisputes_StillPending(asked.reportHash);
        asked.status = Status.Void;
        credit[asked.challenger] += asked.bond;
        emit DisputeVoided(disputeId);
    }

    /// @inheritdoc IReportDisputes
    function payCredit(address account) external nonReentrant returns (uint256 amount) {
        amount = credit[account];
        if (amount == 0) revert ReportDisputes_NoCredit(account);
        delete credit[account];
        emit CreditPaid(account, amount);
        IERC20(token).safeTransfer(account, amount);
    }

    // -- views -------------------------------------------------------------------------------------------------------

    /// @inheritdoc IReportDisputes
    function settings() external view returns (Settings memory) {
        return Settings({bond: _bond, bondPerLane: _bondPerLane, answerSeconds: _answerSeconds});
    }

    /// @inheritdoc IReportDisputes
    function dispute(bytes32 disputeId) external view returns (Dispute memory) {
        return _disputes[disputeId];
    }

    /// @inheritdoc IReportDisputes
    function unitsBond(uint32 licenseId) public view returns (uint96) {
        return SafeCast.toUint96(_bond + uint256(_bondPerLane) * ILicenseRegistry(registry).laneCountOf(licenseId));
    }

    // -- inside ------------------------------------------------------------------------------------------------------

    function _ask(EpochReport calldata pending, Question question, uint32 subject, uint128 needed, uint96 bond)
        private
        returns (bytes32 disputeId)
    {
        (bytes32 structHash, uint256 finalizableAt) = _requirePending(pending);
        if (block.timestamp + _answerSeconds > finalizableAt) {
            revert ReportDisputes_TooLateToAsk(finalizableAt, block.timestamp);
        }
        disputeId = keccak256(abi.encode(structHash, question, subject));
        if (_disputes[disputeId].status != Status.None) revert ReportDisputes_AlreadyAsked(disputeId);
        _disputes[disputeId] = Dispute({
            reportHash: structHash,
            lanesRoot: pending.lanesRoot,
            challenger: msg.sender,
            bond: bond,
            question: question,
            status: Status.Open,
            subject: subject,
            laneCount: pending.laneCount,
            epoch: pending.epoch,
            lanesShown: 0,
            needed: needed,
            unitsShown: 0
        });
        if (++_open[structHash] == 1) IUsageSettlement(settlement).holdFinalization(structHash);
        emit DisputeOpened(disputeId, structHash, msg.sender, question, subject, needed, bond);

        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), bond);
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 received = balance > balanceBefore ? balance - balanceBefore : 0;
        if (received != bond) revert ReportDisputes_WrongDelta(bond, received);
    }

    function _answerHead(bytes32 disputeId, Dispute storage asked) private {
        credit[msg.sender] += asked.bond;
        _close(disputeId, asked);
    }

    function _close(bytes32 disputeId, Dispute storage asked) private {
        asked.status = Status.Answered;
        emit DisputeAnswered(disputeId, msg.sender);
        if (--_open[asked.reportHash] == 0) IUsageSettlement(settlement).releaseFinalization(asked.reportHash);
    }

    /// @return added Lanes that were not shown before.
    /// @return units Their sum. A checkpoint's fit uint128 and lanes are counted in uint32: it cannot overflow.
    function _showLanes(bytes32 disputeId, Dispute storage asked, ShownHead[] calldata shown)
        private
        returns (uint32 added, uint256 units)
    {
        bytes32 lanesRoot = asked.lanesRoot;
        uint32 laneCount = asked.laneCount;
        uint32 licenseId = asked.subject;
        for (uint256 i; i < shown.length; ++i) {
            uint32 laneNumber = shown[i].laneNumber;
            uint256 bit = 1 << (laneNumber & 0xff);
            uint256 bits = _shown[disputeId][laneNumber >> 8];
            if (bits & bit != 0) continue;
            _shown[disputeId][laneNumber >> 8] = bits | bit;
            LaneRegistration memory lane = ILicenseRegistry(registry).laneAt(laneNumber);
            if (lane.licenseId != licenseId) revert ReportDisputes_LaneOfAnother(laneNumber, lane.licenseId);
            _requireSignedHead(lanesRoot, laneCount, shown[i], lane.lane);
            units += shown[i].head.checkpoint.cumulativeUnits;
            ++added;
        }
    }

    function _requireOpen(bytes32 disputeId, Question question) private view returns (Dispute storage asked) {
        asked = _disputes[disputeId];
        if (asked.status != Status.Open) revert ReportDisputes_NotOpen(disputeId, asked.status);
        if (asked.question != question) revert ReportDisputes_WrongQuestion(disputeId, asked.question);
        if (!_isAlive(asked)) revert ReportDisputes_ReportIsDead(asked.reportHash);
    }

    /// @dev A rejected report's hash is forgotten, and never comes back: the next attempt has another one.
    function _isAlive(Dispute storage asked) private view returns (bool) {
        return IUsageSettlement(settlement).reportHash(asked.epoch) == asked.reportHash;
    }

    /// @dev What the disputed report counts of the lane: 0 for a zero leaf, and for a lane that it does not know.
    function _countShown(Dispute storage asked, ShownHead calldata shown, address lane) private view returns (uint64) {
        uint32 laneNumber = asked.subject;
        if (shown.laneNumber != laneNumber) revert ReportDisputes_WrongLane(shown.laneNumber, laneNumber);
        if (laneNumber >= asked.laneCount) return 0;
        if (shown.head.checkpoint.lane == address(0)) {
            LaneTree.requireLeaf(asked.lanesRoot, asked.laneCount, laneNumber, 0, shown.head.proof);
            return 0;
        }
        _requireSignedHead(asked.lanesRoot, asked.laneCount, shown, lane);
        return shown.head.checkpoint.count;
    }

    /// @dev Of what {LaneEvidence} calls a contradiction, that which gives a lane two histories; not short sums.
    /// @return lane Who signed it.
    /// @return lowest The least count that it is about: of a receipt or a fork, the one that includes it.
    function _requireContradiction(Contradiction calldata contradiction)
        private
        view
        returns (address lane, uint256 lowest)
    {
        bytes32 domain = _domain();
        SignedCheckpoint[] calldata points = contradiction.checkpoints;
        if (contradiction.forks.length == 1) {
            lane = LaneEvidence.requireFork(domain, contradiction.forks[0]);
            lowest = uint256(contradiction.forks[0].seq) + 1;
        } else if (contradiction.receipts.length == 2) {
            lane = LaneEvidence.requireConflict(domain, contradiction.receipts[0], contradiction.receipts[1]);
            lowest = uint256(contradiction.receipts[0].receipt.seq) + 1;
        } else if (points.length == 2) {
            lane = LaneEvidence.requireConflict(domain, points[0], points[1]);
            lowest = Math.min(points[0].checkpoint.count, points[1].checkpoint.count);
        } else {
            revert LaneEvidence.LaneEvidence_NoConflict();
        }
    }
}
