// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRoyaltyEscrow} from "./interfaces/IRoyaltyEscrow.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {IWindDown} from "./interfaces/IWindDown.sol";
import {LaneEvidence} from "./libraries/LaneEvidence.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {NoteProof} from "./libraries/NoteProof.sol";
import {NoteTree} from "./libraries/NoteTree.sol";
import {TokenTransfer} from "./libraries/TokenTransfer.sol";
import {LaneRegistration} from "./types/License.sol";
import {Checkpoint} from "./types/Receipt.sol";
import {EpochReport} from "./types/Report.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title WindDown
/// @notice The last thing that this settlement does. Rules and guarantees: {IWindDown}.
contract WindDown is IWindDown, AccessManaged, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 private constant SUBMIT_CLOCK = 90 days;
    uint256 private constant FINALIZE_CLOCK = 180 days;
    uint256 private constant NOTICE = 30 days;
    uint256 private constant SETTLING = 30 days;
    uint256 private constant SIGNATURE_BYTES = 65;
    /// @dev What the probe may use, and what must be left before it, so that nobody can make it fail by sparing gas.
    uint256 private constant PROBE_GAS = 300_000;
    uint256 private constant MIN_PROBE_GAS = 400_000;

    /// @dev While `until` is 0 the token stands still.
    struct Pause {
        uint48 from;
        uint48 until;
    }

    /// @inheritdoc IWindDown
    address public immutable settlement;
    /// @inheritdoc IWindDown
    address public immutable escrow;
    /// @inheritdoc IWindDown
    address public immutable splitter;
    /// @inheritdoc IWindDown
    address public immutable registry;
    /// @inheritdoc IWindDown
    address public immutable token;

    uint48 private _announcedAt;
    /// @inheritdoc IWindDown
    uint48 public announcedByCouncilAt;
    /// @inheritdoc IWindDown
    uint48 public closedAt;
    /// @inheritdoc IWindDown
    uint64 public reserveTree;
    /// @dev Epochs without a report at the closing, at least 1.
    uint32 private _epochsMissed;

    /// @dev In order of time, without overlap: only the last one can be open.
    Pause[] private _pauses;
    mapping(address lane => uint128) private _laneUnits;
    /// @inheritdoc IWindDown
    mapping(uint32 licenseId => uint128) public lateUnits;
    mapping(uint32 licenseId => uint256) private _lateCharged;
    /// @inheritdoc IWindDown
    uint256 public collected;
    /// @inheritdoc IWindDown
    mapping(uint256 index => uint256) public supplementPaid;
    uint256 private _custodianPaid;

    constructor(address authority, address settlement_) AccessManaged(authority) {
        if (authority == address(0)) revert WindDown_ZeroAddress("authority");
        if (settlement_ == address(0)) revert WindDown_ZeroAddress("settlement");
        settlement = settlement_;
        escrow = IUsageSettlement(settlement_).escrow();
        splitter = IUsageSettlement(settlement_).splitter();
        registry = IRoyaltySplitter(splitter).registry();
        token = IRoyaltySplitter(splitter).token();
        // Predicted by the others, none of which could check it.
        _requireWired("settlement.windDown", IUsageSettlement(settlement_).windDown());
        _requireWired("escrow.windDown", IRoyaltyEscrow(escrow).windDown());
        _requireWired("splitter.windDown", IRoyaltySplitter(splitter).windDown());
        if (!_tokenMoves()) revert WindDown_TokenRefusesProbe(token);
    }

    /// @inheritdoc IWindDown
    function recordPause() external nonReentrant returns (bool paused) {
        return _recordPause();
    }

    /// @inheritdoc IWindDown
    function announce() external nonReentrant {
        _requireNotClosed();
        _recordPause();
        uint256 standing = announcedAt();
        if (standing != 0) revert WindDown_AlreadyAnnounced(standing);
        if (!_clockOver(block.timestamp)) {
            revert WindDown_ReportsRunning(
                elapsedSince(IUsageSettlement(settlement).lastSubmittedAt()),
                elapsedSince(IUsageSettlement(settlement).lastFinalizedAt())
            );
        }
        _announcedAt = uint48(block.timestamp);
        emit WindDownAnnounced(msg.sender, false);
    }

    /// @inheritdoc IWindDown
    function announceByCouncil() external restricted {
        _requireNotClosed();
        if (announcedByCouncilAt != 0) revert WindDown_AlreadyAnnounced(announcedByCouncilAt);
        announcedByCouncilAt = uint48(block.timestamp);
        emit WindDownAnnounced(msg.sender, true);
    }

    /// @inheritdoc IWindDown
    function cancelByCouncil() external restricted {
        _requireNotClosed();
        if (announcedByCouncilAt == 0) revert WindDown_NotAnnounced();
        announcedByCouncilAt = 0;
        emit WindDownCanceled();
    }

    /// @inheritdoc IWindDown
    function close(EpochReport calldata last, EpochReport calldata pending) external nonReentrant {
        _requireNotClosed();
        _recordPause();
        _requireNoticeOver();
        IUsageSettlement.State memory state = IUsageSettlement(settlement).state();
        // Before the genesis there is no epoch to miss yet.
        uint256 missed = Math.saturatingSub(block.timestamp, state.lastPeriodEnd);
        _epochsMissed = uint32(Math.max(missed / IUsageSettlement(settlement).epochSeconds(), 1));
        closedAt = uint48(block.timestamp);
        if (state.lastEpoch != 0) reserveTree = 2 * uint64(state.lastEpoch) + 1;
        emit WindDownClosed(state.lastEpoch, reserveTree);

        IUsageSettlement(settlement).stop();
        if (state.pending) IUsageSettlement(settlement).rejectProven(pending, "wind-down");
        if (state.lastEpoch != 0 && IUsageSettlement(settlement).reserveIssuedEpoch() != state.lastEpoch) {
            IUsageSettlement(settlement).issueReserve(last);
        }
    }

    /// @inheritdoc IWindDown
    function settleLate(uint32 licenseId, Checkpoint[] calldata checkpoints, bytes calldata signatures)
        external
        nonReentrant
        returns (uint96 charge)
    {
        if (closedAt == 0) revert WindDown_NotClosed();
        if (refundsOpen()) revert WindDown_SettlingOver();
        if (signatures.length != checkpoints.length * SIGNATURE_BYTES) {
            revert WindDown_WrongSignatureCount(signatures.length, checkpoints.length * SIGNATURE_BYTES);
        }
        uint128 units = lateUnits[licenseId];
        for (uint256 i; i < checkpoints.length; ++i) {
            units += _raiseLane(licenseId, checkpoints[i], signatures[i * SIGNATURE_BYTES:(i + 1) * SIGNATURE_BYTES]);
        }
        lateUnits[licenseId] = units;
        // Lanes whose last checkpoint nobody brought are missing in the sum; what reports counted stays counted.
        uint128 committed = IRoyaltyEscrow(escrow).account(licenseId).cumulativeUnits;
        if (units < committed) units = committed;
        charge = IRoyaltyEscrow(escrow).drawLate(licenseId, units, lateAllowance(licenseId));
        _lateCharged[licenseId] += charge;
        emit LateSettled(licenseId, units, charge);
    }

    /// @inheritdoc IWindDown
    function claimSupplement(uint32 index, uint256 word, bytes32 salt, bytes calldata proof)
        external
        nonReentrant
        returns (uint256 amount)
    {
        IRoyaltySplitter.Tree memory reserve = IRoyaltySplitter(splitter).tree(reserveTree);
        if (word == 0) revert IRoyaltySplitter.RoyaltySplitter_ZeroWord(reserveTree, index);
        NoteProof.requireLeaf(
            reserve, reserveTree, index, NoteTree.reserveLeaf(word, salt), NoteTree.amount(word), proof
        );
        _collect();
        uint256 earned = MoneyMath.mulDivDown(NoteTree.amount(word), collected, reserve.total);
        amount = earned - supplementPaid[index];
        if (amount == 0) revert WindDown_NothingToPay();
        supplementPaid[index] = earned;
        address payee = NoteTree.payee(word);
        emit SupplementPaid(index, payee, amount);
        IERC20(token).safeTransfer(payee, amount);
    }

    /// @inheritdoc IWindDown
    function payCustodian() external nonReentrant returns (uint256 amount) {
        if (IRoyaltySplitter(splitter).tree(reserveTree).count != 0) revert WindDown_HasReserve(reserveTree);
        _collect();
        amount = collected - _custodianPaid;
        if (amount == 0) revert WindDown_NothingToPay();
        _custodianPaid = collected;
        address custodian = IRoyaltySplitter(splitter).custodian();
        emit CustodianPaid(custodian, amount);
        IERC20(token).safeTransfer(custodian, amount);
    }

    /// @inheritdoc IWindDown
    function refundsOpen() public view returns (bool) {
        return closedAt != 0 && elapsedSince(closedAt) >= SETTLING;
    }

    /// @inheritdoc IWindDown
    function elapsedSince(uint256 since) public view returns (uint256) {
        return _elapsed(since, block.timestamp);
    }

    /// @inheritdoc IWindDown
    function announcedAt() public view returns (uint256) {
        return _announcedAt != 0 && _clockOver(_announcedAt) ? _announcedAt : 0;
    }

    /// @inheritdoc IWindDown
    function lateAllowance(uint32 licenseId) public view returns (uint256) {
        uint256 cap = ILicenseRegistry(registry).pricing(licenseId).maxChargePerEpoch;
        return cap * _epochsMissed - _lateCharged[licenseId];
    }

    /// @dev Take note of a checkpoint; how many units it adds to the lane's highest so far.
    function _raiseLane(uint32 licenseId, Checkpoint calldata checkpoint, bytes calldata signature)
        private
        returns (uint128 added)
    {
        address lane = checkpoint.lane;
        uint128 units = checkpoint.cumulativeUnits;
        (bool registered, uint32 laneNumber) = ILicenseRegistry(registry).laneNumberOf(lane);
        if (!registered) revert WindDown_UnknownLane(lane);
        LaneRegistration memory registration = ILicenseRegistry(registry).laneAt(laneNumber);
        if (registration.licenseId != licenseId) revert WindDown_OtherLicense(lane, registration.licenseId);
        if (units > registration.unitCap) revert WindDown_OverUnitCap(lane, units, registration.unitCap);
        LaneEvidence.requireSigned(IUsageSettlement(settlement).domainSeparator(), checkpoint, signature);
        uint128 known = _laneUnits[lane];
        if (units <= known) return 0;
        _laneUnits[lane] = units;
        return units - known;
    }

    /// @dev Fetch what lies in the pool, once refunds are open: then late charges are all in, and only income can follow.
    function _collect() private {
        if (!refundsOpen()) revert WindDown_StillSettling(closedAt == 0 ? 0 : elapsedSince(closedAt), SETTLING);
        if (IRoyaltySplitter(splitter).pool() == 0) return;
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        uint256 amount = IRoyaltySplitter(splitter).surrenderPool();
        uint256 received = IERC20(token).balanceOf(address(this)) - balanceBefore;
        if (received != amount) revert WindDown_WrongDelta(amount, received);
        collected += amount;
        emit SupplementCollected(amount);
    }

    function _recordPause() private returns (bool paused) {
        if (gasleft() < MIN_PROBE_GAS) revert WindDown_LowGas(gasleft(), MIN_PROBE_GAS);
        paused = !_tokenMoves();
        uint256 count = _pauses.length;
        bool wasPaused = count != 0 && _pauses[count - 1].until == 0;
        if (paused && !wasPaused) {
            _pauses.push(Pause({from: uint48(block.timestamp), until: 0}));
            emit TokenPaused();
        } else if (!paused && wasPaused) {
            Pause storage ended = _pauses[count - 1];
            ended.until = uint48(block.timestamp);
            emit TokenResumed(block.timestamp - ended.from);
        }
    }

    /// @dev Move nothing, from here to here: a paused token refuses even that.
    function _tokenMoves() private returns (bool) {
        return TokenTransfer.trySend(token, address(this), 0, PROBE_GAS);
    }

    /// @dev Whether reports had stopped at a time for long enough, by what is known now: a submit since then proves the
    /// first clock wrong, a finalize the second.
    function _clockOver(uint256 at) private view returns (bool) {
        return _elapsed(IUsageSettlement(settlement).lastSubmittedAt(), at) >= SUBMIT_CLOCK
            || _elapsed(IUsageSettlement(settlement).lastFinalizedAt(), at) >= FINALIZE_CLOCK;
    }

    function _elapsed(uint256 since, uint256 at) private view returns (uint256 seconds_) {
        if (at <= since) return 0;
        seconds_ = at - since;
        for (uint256 i = _pauses.length; i != 0; --i) {
            Pause memory pause = _pauses[i - 1];
            uint256 until = pause.until == 0 ? at : Math.min(pause.until, at);
            if (until <= since) break;
            uint256 from = Math.max(pause.from, since);
            if (from < until) seconds_ -= until - from;
        }
    }

    function _requireNotClosed() private view {
        if (closedAt != 0) revert WindDown_AlreadyClosed();
    }

    /// @dev Either announcement does: the council's cannot delay the clocks' own.
    function _requireNoticeOver() private view {
        uint256 byClock = announcedAt();
        if (byClock == 0 && announcedByCouncilAt == 0) revert WindDown_NotAnnounced();
        uint256 elapsed = byClock == 0 ? 0 : elapsedSince(byClock);
        if (announcedByCouncilAt != 0) elapsed = Math.max(elapsed, elapsedSince(announcedByCouncilAt));
        if (elapsed < NOTICE) revert WindDown_NoticeRunning(elapsed, NOTICE);
    }

    function _requireWired(string memory what, address found) private view {
        if (found != address(this)) revert WindDown_Miswired(what, found, address(this));
    }
}
