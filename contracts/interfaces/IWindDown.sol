// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {Checkpoint} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";

/// @title How everybody gets their money out when the committee is gone
/// @notice announced → 30 days' notice → closed → 30 days in which anyone settles what lanes have signed → refunds.
///
/// Anyone may announce when no report was submitted for 90 days, or none finalized for 180; the council at any time.
/// Closing is final: no report is accepted any more, a pending one is void, and the reserve of the last report becomes
/// notes. Late charges, and whatever else the reserve does not cover, are paid on top of it in proportion. That is an
/// approximation: nobody is left to divide late charges by weights, and the reserve is the only record of people on chain.
/// Whoever let much accumulate before the end has a larger part of what comes after it.
///
/// Safety: a committee that reports cannot be shut out by anyone but the council; the reserve of a report is issued once;
/// late charges need units that the buyer's own lanes signed, and keep to price, balance and cap; nothing is
/// refunded before the time to settle is over; every time here stands still while the token does.
/// Liveness: every step is anyone's. A token whose issuer blocks this very contract stands still for ever: then only the
/// committee, or nobody, moves money. A bad last reserve has no safe fallback.
interface IWindDown {
    event WindDownAnnounced(address indexed by, bool byCouncil);
    event WindDownCanceled();
    event WindDownClosed(uint64 indexed lastEpoch, uint64 reserveTree);
    event TokenPaused();
    event TokenResumed(uint256 pausedSeconds);
    event LateSettled(uint32 indexed licenseId, uint128 cumulativeUnits, uint96 charge);
    event SupplementCollected(uint256 amount);
    event SupplementPaid(uint32 indexed index, address indexed to, uint256 amount);
    event CustodianPaid(address indexed to, uint256 amount);

    error WindDown_ZeroAddress(string what);
    error WindDown_Miswired(string what, address found, address expected);
    /// @notice The token refuses a transfer of nothing, so this contract could not tell when it stands still.
    error WindDown_TokenRefusesProbe(address token);
    error WindDown_LowGas(uint256 left, uint256 needed);
    error WindDown_ReportsRunning(uint256 sinceSubmitted, uint256 sinceFinalized);
    error WindDown_AlreadyAnnounced(uint256 announcedAt);
    error WindDown_NotAnnounced();
    error WindDown_NoticeRunning(uint256 elapsed, uint256 needed);
    error WindDown_AlreadyClosed();
    error WindDown_NotClosed();
    error WindDown_SettlingOver();
    error WindDown_StillSettling(uint256 elapsed, uint256 needed);
    error WindDown_WrongSignatureCount(uint256 given, uint256 expected);
    error WindDown_UnknownLane(address lane);
    error WindDown_OtherLicense(address lane, uint32 licenseId);
    error WindDown_OverUnitCap(address lane, uint128 units, uint128 unitCap);
    error WindDown_NothingToPay();
    error WindDown_HasReserve(uint64 reserveTree);
    error WindDown_WrongDelta(uint256 expected, uint256 received);

    /// @notice Note whether the token moves right now. Anyone may, and should when it stops and when it moves again: all
    /// times here count only the seconds in which it was not known to stand still.
    function recordPause() external returns (bool paused);

    /// @notice Announce that reports have stopped. Anyone may, when they have. The announcement stands as long as no
    /// later submit (or finalize, if it is that clock) proves it wrong.
    function announce() external;

    /// @notice Council: announce the end of the committee's work, whatever the clocks say.
    function announceByCouncil() external;

    /// @notice Council: take its own announcement back. Nobody can take back one that the clocks made.
    function cancelByCouncil() external;

    /// @notice Close the settlement for good, after the notice. Anyone may.
    /// @param last The last finalized report; ignored if there is none.
    /// @param pending The pending report, which is void from now on; ignored if there is none.
    function close(EpochReport calldata last, EpochReport calldata pending) external;

    /// @notice Charge a license for what its lanes have signed and no report has counted, and for what is still due.
    /// Anyone may, again and again, within 30 days of the closing.
    ///
    /// Units are the sum over the license's lanes of the highest checkpoint given so far. All late charges of a license
    /// together keep to its cap, once per epoch that went by without a report, at least once.
    /// @param signatures One per checkpoint by its lane, 65 bytes r ‖ s ‖ v each, in the same order.
    function settleLate(uint32 licenseId, Checkpoint[] calldata checkpoints, bytes calldata signatures)
        external
        returns (uint96 charge);

    /// @notice Pay a leaf of the reserve its part of what the reserve did not cover: ⌊amount × collected / reserve total⌋
    /// less what it got already. Anyone may, also again when more has come in. Whether the leaf itself was claimed does
    /// not matter.
    function claimSupplement(uint32 index, uint256 word, bytes32 salt, bytes calldata proof)
        external
        returns (uint256 amount);

    /// @notice Pay the custodian what is left if there was no reserve. Anyone may.
    function payCustodian() external returns (uint256 amount);

    /// @notice Whether buyers may take back what is left: the settlement is closed and the time in which anyone could
    /// settle lane-signed checkpoints has passed.
    function refundsOpen() external view returns (bool);

    /// @notice Seconds since a time, without those in which the token was known to stand still.
    function elapsedSince(uint256 since) external view returns (uint256);
    /// @notice Time in seconds of the standing announcement by the clocks; 0 if there is none.
    function announcedAt() external view returns (uint256);
    /// @notice Time in seconds of the council's announcement; 0 if there is none.
    function announcedByCouncilAt() external view returns (uint48);
    /// @notice Time in seconds of the closing; 0 before.
    function closedAt() external view returns (uint48);
    /// @notice The splitter's tree of the last reserve; 0 before the closing, or if nothing was ever finalized. Unknown
    /// to the splitter if that reserve was empty.
    function reserveTree() external view returns (uint64);
    /// @notice Most that {settleLate} may still charge a license, apart from what is due and available.
    function lateAllowance(uint32 licenseId) external view returns (uint256);
    /// @notice Units of a license that lanes have proven here.
    function lateUnits(uint32 licenseId) external view returns (uint128);
    /// @notice All that came in for the supplement so far.
    function collected() external view returns (uint256);
    /// @notice What a leaf of the reserve got of it.
    function supplementPaid(uint256 index) external view returns (uint256);

    function settlement() external view returns (address);
    function escrow() external view returns (address);
    function splitter() external view returns (address);
    function registry() external view returns (address);
    function token() external view returns (address);
}
