// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICouncilSeat} from "./interfaces/ICouncilSeat.sol";
import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Votes} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Votes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

/// @title CouncilSeat
/// @notice An ERC721Votes without transfer, approval and delegation. Rules and guarantees: {ICouncilSeat}.
contract CouncilSeat is ICouncilSeat, ERC721Votes {
    uint256 private constant LEAST_SEATS = 3;

    /// @inheritdoc ICouncilSeat
    address public immutable timelock;
    uint256 private _lastSeatId;
    mapping(uint256 seatId => Seat) private _seats;
    /// @inheritdoc ICouncilSeat
    mapping(address holder => uint256 seatId) public seatOf;

    modifier onlyTimelock() {
        if (msg.sender != timelock) revert CouncilSeat_OnlyTimelock(msg.sender);
        _;
    }

    constructor(address timelock_, Appointment[] memory first)
        ERC721("Usufruct Council Seat", "SEAT")
        EIP712("Usufruct Council Seat", "1")
    {
        if (timelock_ == address(0)) revert CouncilSeat_ZeroAddress("timelock");
        if (first.length < LEAST_SEATS) revert CouncilSeat_TooFewSeats(first.length, LEAST_SEATS);
        timelock = timelock_;
        for (uint256 i; i < first.length; ++i) {
            _appoint(first[i]);
        }
    }

    /// @inheritdoc ICouncilSeat
    function appoint(Appointment calldata appointment) external onlyTimelock returns (uint256 seatId) {
        return _appoint(appointment);
    }

    /// @inheritdoc ICouncilSeat
    function renew(uint256 seatId, uint48 termEndsAt, bytes32 mandateHash) external onlyTimelock {
        address holder = _requireOwned(seatId);
        _requireTerm(holder, termEndsAt, mandateHash);
        _seats[seatId].termEndsAt = termEndsAt;
        _seats[seatId].mandateHash = mandateHash;
        emit SeatRenewed(seatId, holder, termEndsAt, mandateHash);
    }

    /// @inheritdoc ICouncilSeat
    function revoke(uint256 seatId, bytes32 reasonHash) external onlyTimelock {
        emit SeatRevoked(seatId, _end(seatId), reasonHash);
    }

    /// @inheritdoc ICouncilSeat
    function resign() external {
        uint256 seatId = seatOf[msg.sender];
        if (seatId == 0) revert CouncilSeat_NoSeat(msg.sender);
        emit SeatResigned(seatId, _end(seatId));
    }

    /// @inheritdoc ICouncilSeat
    function vacate(uint256 seatId) external {
        uint48 termEndsAt = seat(seatId).termEndsAt;
        if (block.timestamp < termEndsAt) revert CouncilSeat_TermRunning(seatId, termEndsAt);
        emit SeatVacated(seatId, _end(seatId), msg.sender);
    }

    /// @notice Refused: a seat is a person's.
    function approve(address, uint256) public pure override {
        revert CouncilSeat_NotTransferable();
    }

    /// @notice Refused: a seat is a person's.
    function setApprovalForAll(address, bool) public pure override {
        revert CouncilSeat_NotTransferable();
    }

    /// @inheritdoc ICouncilSeat
    function seatCount() public view returns (uint256) {
        return _getTotalSupply();
    }

    /// @inheritdoc ICouncilSeat
    function seat(uint256 seatId) public view returns (Seat memory) {
        _requireOwned(seatId);
        return _seats[seatId];
    }

    /// @notice Everybody votes for themself.
    function delegates(address account) public pure override returns (address) {
        return account;
    }

    /// @inheritdoc Votes
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    /// @inheritdoc Votes
    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// @dev Minting and burning only: no other way a token could go from one account to another passes here.
    function _update(address to, uint256 seatId, address auth) internal override returns (address holder) {
        holder = super._update(to, seatId, auth);
        if (holder != address(0) && to != address(0)) revert CouncilSeat_NotTransferable();
    }

    /// @dev Both ways to delegate, in person and by signature, end here.
    function _delegate(address, address) internal pure override {
        revert CouncilSeat_DelegationOff();
    }

    function _appoint(Appointment memory appointment) private returns (uint256 seatId) {
        address holder = appointment.holder;
        if (seatOf[holder] != 0) revert CouncilSeat_HoldsSeat(holder, seatOf[holder]);
        _requireTerm(holder, appointment.termEndsAt, appointment.mandateHash);
        seatId = ++_lastSeatId;
        seatOf[holder] = seatId;
        _seats[seatId] = Seat({
            appointedAt: uint48(block.timestamp),
            termEndsAt: appointment.termEndsAt,
            mandateHash: appointment.mandateHash
        });
        emit SeatAppointed(seatId, holder, appointment.termEndsAt, appointment.mandateHash);
        _mint(holder, seatId);
    }

    function _end(uint256 seatId) private returns (address holder) {
        holder = _requireOwned(seatId);
        if (seatCount() <= LEAST_SEATS) revert CouncilSeat_TooFewSeats(seatCount() - 1, LEAST_SEATS);
        delete seatOf[holder];
        delete _seats[seatId];
        _burn(seatId);
    }

    function _requireTerm(address holder, uint48 termEndsAt, bytes32 mandateHash) private view {
        if (termEndsAt <= block.timestamp) revert CouncilSeat_BadTerm(termEndsAt, block.timestamp);
        if (mandateHash == 0) revert CouncilSeat_ZeroMandate(holder);
    }
}
