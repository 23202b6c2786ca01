// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ReportLine} from "../types/Report.sol";

/// @title Buyers' money, one account per license
/// @notice deposited = available + reserved + charged + withdrawn, for every license, always.
///
/// Safety: money leaves an account only to the splitter, for units the terms price, within balance and cap, or
/// back to the buyer after final coverage or after the wind-down. No role has a path to it.
/// Liveness: a paused token stops deposits, draws and withdrawals, and loses nothing. Neither does one that delivers
/// less than it was told to: deposits are refused, and reports wait unfinalized until it moves whole amounts again.
interface IRoyaltyEscrow {
    /// @param available Free to be reserved.
    /// @param reserved Held for the pending report.
    /// @param charged Drawn since the license began.
    /// @param cumulativeUnits Units of the last finalized report.
    /// @param deposited Everything ever put in.
    /// @param withdrawn Everything ever given back to the buyer.
    struct Account {
        uint96 available;
        uint96 reserved;
        uint96 charged;
        uint128 cumulativeUnits;
        uint96 deposited;
        uint96 withdrawn;
    }

    event Deposited(uint32 indexed licenseId, address indexed from, uint96 amount);
    event Charged(uint32 indexed licenseId, uint128 cumulativeUnits, uint96 charge, uint96 chargedTotal);
    event Withdrawn(uint32 indexed licenseId, address indexed to, uint96 amount);

    error RoyaltyEscrow_ZeroAddress(string what);
    error RoyaltyEscrow_WrongToken(address given, address expected);
    error RoyaltyEscrow_OnlySettlement(address caller);
    error RoyaltyEscrow_OnlyWindDown(address caller);
    error RoyaltyEscrow_ZeroAmount();
    error RoyaltyEscrow_ZeroRecipient();
    error RoyaltyEscrow_WrongDelta(uint256 expected, uint256 received);
    error RoyaltyEscrow_BalanceTooLarge(uint32 licenseId, uint256 balance);
    error RoyaltyEscrow_UnitsFell(uint32 licenseId, uint128 committed, uint128 reported);
    error RoyaltyEscrow_ChargeTooHigh(uint32 licenseId, uint96 charge, uint256 due, uint96 available, uint96 cap);
    error RoyaltyEscrow_NotBuyer(uint32 licenseId, address caller);
    error RoyaltyEscrow_NotCovered(uint32 licenseId, uint256 coveredUntil, uint256 neededUntil);
    error RoyaltyEscrow_LinePending(uint32 licenseId, uint96 reserved);
    error RoyaltyEscrow_StillDue(uint32 licenseId, uint256 due);
    /// @notice A proof against the buyer is not settled yet.
    error RoyaltyEscrow_ChallengeOpen(uint32 licenseId, uint256 openChallenges);
    error RoyaltyEscrow_InsufficientBalance(uint32 licenseId, uint96 available, uint96 asked);

    /// @notice Put money in for a license; anyone may. Needs an approval; fee-on-transfer tokens are refused.
    function deposit(uint32 licenseId, uint96 amount) external;

    /// @notice Deposit with an EIP-2612 permit of the sender. A permit somebody already submitted is tolerated.
    function depositWithPermit(uint32 licenseId, uint96 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Deposit with an EIP-3009 authorization that anyone may carry. Its nonce is
    /// keccak256(abi.encode(licenseId, salt)), so nobody can direct it to another license.
    function depositWithAuthorization(
        uint32 licenseId,
        address from,
        uint96 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Settlement: check every line and hold its charge.
    /// @return contributorsShare What these charges will add to the contributors' pool.
    function reserve(ReportLine[] calldata lines) external returns (uint256 contributorsShare);

    /// @notice Settlement: undo `reserve` of the same lines exactly.
    function release(ReportLine[] calldata lines) external;

    /// @notice Settlement: pay the held charges to the splitter and commit the units.
    function draw(ReportLine[] calldata lines) external;

    /// @notice Wind-down: charge for units that no report will count any more, as far as due, available and allowed,
    /// and commit them.
    /// @param cumulativeUnits Units of the license since it began; at least those committed.
    /// @param allowance Most that may be charged now: {IWindDown} keeps to the license's cap.
    function drawLate(uint32 licenseId, uint128 cumulativeUnits, uint256 allowance) external returns (uint96 charge);

    /// @notice The buyer takes unspent money back, once a finalized report covers the license's end plus the
    /// maximum merge delay, nothing is held, nothing is due and no challenge is open; or, whatever the state of the
    /// license, once the wind-down has opened refunds.
    function withdraw(uint32 licenseId, uint96 amount, address to) external;

    function account(uint32 licenseId) external view returns (Account memory);
    /// @notice Charges owed and not yet drawn, by committed units.
    function due(uint32 licenseId) external view returns (uint256);
    /// @notice What a report whose cut-off is now may charge at most, dues aside: min(available, cap), but nothing
    /// while the buyer is free to withdraw. A charge computed from this cannot be undercut by a withdrawal between
    /// cut-off and submit.
    function chargeable(uint32 licenseId) external view returns (uint96);
    function maxMergeDelaySeconds() external view returns (uint32);
    function token() external view returns (address);
    function registry() external view returns (address);
    function settlement() external view returns (address);
    function splitter() external view returns (address);
    /// @notice Proofs against buyers: while one is open, the license's money stays.
    function challenges() external view returns (address);
    function windDown() external view returns (address);
}
