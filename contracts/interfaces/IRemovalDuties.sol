// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {DutyKind, ForbiddenUse} from "../types/Removal.sol";

/// @title Duties to remove somebody's records, and penalties for using them after their consent ended
/// @notice A steward names a revoked tag, and the buyer says by a deadline that what it stood for was removed: from
/// retrieval within 30 days, from training within 180. Whoever misses a deadline loses the bond. Separately, a receipt
/// that used a record after its consent had ended costs three times its price.
///
/// Penalties go to the remediation fund whole: neither who revoked, nor other contributors, nor who reports gets any.
///
/// Safety: a duty needs a revocation on chain, and one call of the buyer answers any number of them. A penalty needs a
/// receipt that the lane signed, the record in its usage list, and the record's row in **every** roster that was the
/// license's at any time within the 24 hours before the call: each must have a consent interval that has expired, or
/// was revoked more than 24 hours before, and none that still permits. So a gateway that serves a record only while the
/// license's current roster permits it, 24 hours of delay allowed, is never penalized, whatever a steward sets or
/// somebody revokes. A stolen lane key costs no more than three times the price of its unit cap.
/// Liveness: a steward who withholds a roster's rows stops a careful gateway, and shields a careless one. A report
/// publishes a row: purse, wallet and record tags of one person, pseudonyms all.
interface IRemovalDuties {
    /// @param dueBy Last second in which the buyer can attest removal.
    struct Duty {
        bytes32 revokeTag;
        uint48 dueBy;
    }

    event DutyOpened(
        uint32 indexed licenseId, DutyKind indexed kind, uint256 number, bytes32 indexed revokeTag, uint48 dueBy
    );
    /// @notice All duties of this kind below `upTo` are fulfilled, by the buyer's word.
    event RemovalAttested(uint32 indexed licenseId, DutyKind indexed kind, uint256 upTo, bytes32 attestationHash);
    event DutyEnforced(uint32 indexed licenseId, DutyKind indexed kind, uint256 upTo, uint96 slashed);
    event ForbiddenUsePenalized(
        uint32 indexed licenseId,
        address indexed lane,
        bytes32 indexed recordTag,
        bytes32 receiptHash,
        uint96 penalty,
        uint96 slashed
    );

    error RemovalDuties_ZeroAddress(string what);
    error RemovalDuties_NotSteward(uint32 licenseId, address caller);
    error RemovalDuties_NotBuyer(uint32 licenseId, address caller);
    error RemovalDuties_TooLate(uint32 licenseId, uint256 until);
    error RemovalDuties_NotRevoked(bytes32 revokeTag);
    error RemovalDuties_AlreadyOpened(uint32 licenseId, DutyKind kind, bytes32 revokeTag);
    error RemovalDuties_BadRange(uint256 closed, uint256 upTo, uint256 count);
    error RemovalDuties_ZeroAttestation();
    error RemovalDuties_Overdue(uint256 number, uint48 dueBy);
    error RemovalDuties_NotDue(uint256 number, uint48 dueBy);
    error RemovalDuties_UnknownLane(address lane);
    error RemovalDuties_NotMeteredByUse(uint32 licenseId);
    error RemovalDuties_NotYetIssued(uint64 issuedAtMs, uint256 nowSeconds);
    error RemovalDuties_WrongTag(bytes32 used, bytes32 inRow);
    error RemovalDuties_RosterTooNew(uint256 number, uint48 setAt);
    error RemovalDuties_RosterMissing(uint256 number, uint48 setAt);
    error RemovalDuties_RosterLater(uint256 number, uint48 setAt);
    /// @notice This roster allowed the use when the call was made, or never had a consent that ended.
    error RemovalDuties_NotForbidden(uint256 roster);
    error RemovalDuties_AlreadyPenalized(bytes32 receiptHash, bytes32 recordTag);
    error RemovalDuties_NothingToTake(uint32 licenseId);

    /// @notice The steward names a revoked tag whose records the buyer has to remove. Once per license, kind and tag, and
    /// until 90 days after the license's end.
    /// @return number 0, 1, 2 … per license and kind.
    function openDuty(uint32 licenseId, DutyKind kind, bytes32 revokeTag) external returns (uint256 number);

    /// @notice The buyer declares all open duties of a kind below number `upTo` fulfilled, none of them overdue.
    /// @param attestationHash Hash of the signed declaration.
    function attestRemoval(uint32 licenseId, DutyKind kind, uint256 upTo, bytes32 attestationHash) external;

    /// @notice Close all open duties of a kind below number `upTo`, each of them overdue: the bond is lost. Anyone may.
    function enforceDuty(uint32 licenseId, DutyKind kind, uint256 upTo) external returns (uint96 slashed);

    /// @notice Prove that a call of a retrieval or embedding license used a record whose consent had ended: the bond
    /// pays three times the price of the receipt's units. Once per receipt and record; anyone may, until 90 days after
    /// the license's end.
    function penalizeUse(ForbiddenUse calldata use) external returns (uint96 slashed);

    /// @notice Duties of a license that are neither attested nor enforced yet.
    function openFor(uint32 licenseId) external view returns (uint256);
    function dutyCount(uint32 licenseId, DutyKind kind) external view returns (uint256);
    /// @notice Duties closed so far; they close in order.
    function closedCount(uint32 licenseId, DutyKind kind) external view returns (uint256);
    /// @dev Reverts (panic 0x32) beyond dutyCount.
    function duty(uint32 licenseId, DutyKind kind, uint256 number) external view returns (Duty memory);
    function penalized(bytes32 receiptHash, bytes32 recordTag) external view returns (bool);
    /// @notice Units of a lane's receipts that were penalized so far; never above its unit cap.
    function penalizedUnits(address lane) external view returns (uint128);
    function registry() external view returns (address);
    function consentLog() external view returns (address);
    function bonds() external view returns (address);
    function settlement() external view returns (address);
}
