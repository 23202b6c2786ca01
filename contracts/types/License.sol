// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice What a meter counts as one unit.
enum MeterKind {
    Inference,
    Tokens,
    FineTune,
    Training,
    Embedding,
    Retrieval
}

/// @notice Who shares a charge with the contributors.
enum Party {
    Community,
    Steward,
    Platform,
    Operators
}

/// @notice What a steward signs (EIP-712, LicenseRegistry domain) and a buyer accepts. Immutable afterwards.
struct LicenseOffer {
    address steward;
    address buyer;
    bytes32 templateHash;
    bytes32 documentHash;
    bytes32 collectionHash;
    address token;
    uint8 meterKind;
    uint96 pricePerMillionUnits;
    uint96 upfrontFee;
    uint96 maxChargePerEpoch;
    uint96 usageBond;
    uint16 contributorsBps;
    uint16 communityBps;
    uint16 stewardBps;
    uint16 platformBps;
    uint16 operatorsBps;
    bytes32 milestonesHash;
    bytes32 royaltyHash;
    uint64 startsAt;
    uint64 endsAt;
    uint32 coolingOffSeconds;
    uint32 noticeSeconds;
    uint256 nonce;
    uint64 deadline;
}

/// @notice The part of a license that money is computed from: one storage slot. Contributors get the remainder
/// to 10,000 bps.
struct LicensePricing {
    uint96 pricePerMillionUnits;
    uint96 maxChargePerEpoch;
    uint16 communityBps;
    uint16 stewardBps;
    uint16 platformBps;
    uint16 operatorsBps;
}

/// @notice How a license's charges divide, and how much was charged so far: one storage slot. The five basis points
/// sum to 10,000.
struct SplitAccount {
    uint96 charged;
    uint16 contributorsBps;
    uint16 communityBps;
    uint16 stewardBps;
    uint16 platformBps;
    uint16 operatorsBps;
}

/// @notice An accepted license: who, when, and what it covers.
struct License {
    address buyer;
    uint48 startsAt;
    uint48 endsAt;
    address steward;
    uint48 acceptedAt;
    MeterKind meterKind;
    bool suspended;
    uint32 coolingOffSeconds;
    uint32 noticeSeconds;
    bytes32 collectionHash;
    bytes32 documentHash;
    bytes32 offerHash;
    bytes32 rosterRoot;
}

/// @notice What a lane key signs about itself (EIP-712, LicenseRegistry domain).
/// @param validFrom First moment of validity, in milliseconds, compared with a receipt's issuedAtMs.
/// @param validTo First moment after it, in milliseconds.
/// @param unitCap Most units that the lane may count in all.
struct LaneRegistration {
    address lane;
    uint32 licenseId;
    uint64 validFrom;
    uint64 validTo;
    uint128 unitCap;
}
