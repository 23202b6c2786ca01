// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Seats on the patient council
/// @notice One seat, one vote. A seat is an ERC-721 token that cannot be transferred or approved, whose vote cannot be
/// delegated, and of which nobody holds two. The council's timelock appoints, renews and revokes; votes count by who sat
/// at the moment a vote opened (ERC-6372 clock: block time in seconds).
///
/// Safety: no seat comes or goes but by the council, by its holder's resignation, or after its term; votes of a moment
/// that has passed never change.
/// Liveness: a seat whose term is over keeps its vote until somebody vacates it, so that a council which failed to
/// appoint anyone in time can still act. There are never fewer than three seats: appoint first, then remove.
interface ICouncilSeat {
    /// @param mandateHash Hash of the document that says for whom and for what the holder sits.
    struct Appointment {
        address holder;
        uint48 termEndsAt;
        bytes32 mandateHash;
    }

    /// @param termEndsAt From then on anyone may vacate the seat, in seconds.
    struct Seat {
        uint48 appointedAt;
        uint48 termEndsAt;
        bytes32 mandateHash;
    }

    event SeatAppointed(uint256 indexed seatId, address indexed holder, uint48 termEndsAt, bytes32 mandateHash);
    event SeatRenewed(uint256 indexed seatId, address indexed holder, uint48 termEndsAt, bytes32 mandateHash);
    event SeatRevoked(uint256 indexed seatId, address indexed holder, bytes32 reasonHash);
    event SeatResigned(uint256 indexed seatId, address indexed holder);
    event SeatVacated(uint256 indexed seatId, address indexed holder, address by);

    error CouncilSeat_ZeroAddress(string what);
    error CouncilSeat_ZeroMandate(address holder);
    error CouncilSeat_OnlyTimelock(address caller);
    error CouncilSeat_HoldsSeat(address holder, uint256 seatId);
    error CouncilSeat_NoSeat(address account);
    error CouncilSeat_BadTerm(uint48 termEndsAt, uint256 nowSeconds);
    error CouncilSeat_TermRunning(uint256 seatId, uint48 termEndsAt);
    error CouncilSeat_TooFewSeats(uint256 seats, uint256 least);
    error CouncilSeat_NotTransferable();
    error CouncilSeat_DelegationOff();

    /// @notice Timelock: give a new seat to somebody who has none.
    function appoint(Appointment calldata appointment) external returns (uint256 seatId);

    /// @notice Timelock: another term, under a mandate.
    function renew(uint256 seatId, uint48 termEndsAt, bytes32 mandateHash) external;

    /// @notice Timelock: end a seat, for the reason behind a hash.
    function revoke(uint256 seatId, bytes32 reasonHash) external;

    /// @notice The caller gives up its seat.
    function resign() external;

    /// @notice End a seat whose term is over. Anyone may.
    function vacate(uint256 seatId) external;

    function timelock() external view returns (address);
    function seatCount() external view returns (uint256);
    /// @notice The seat of an account; 0 if it has none. Seats count from 1 and no number comes twice.
    function seatOf(address holder) external view returns (uint256 seatId);
    /// @dev Reverts for a seat that does not exist (any more).
    function seat(uint256 seatId) external view returns (Seat memory);
}
