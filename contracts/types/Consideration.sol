// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A payment for an event that attesters can see.
/// @param deadline Last second in which it can be attested; afterwards the money goes back to the buyer.
/// @param descriptionHash Hash of the text that says what must have happened.
struct Milestone {
    uint96 amount;
    uint48 deadline;
    bytes32 descriptionHash;
}

/// @notice What an offer's `milestonesHash` stands for: keccak256(abi.encode(milestones, attesters, quorum)).
/// @param attesters Ascending, so that none counts twice.
/// @param quorum How many of them must say that a milestone was reached.
struct MilestoneTerms {
    Milestone[] milestones;
    address[] attesters;
    uint8 quorum;
}

/// @notice One attester's signature of a MilestoneReached (ECDSA or ERC-1271).
/// @param attester Position among the attesters.
struct Attestation {
    uint8 attester;
    bytes signature;
}

/// @notice What an offer's `royaltyHash` stands for: keccak256(abi.encode(terms)).
/// @param revenueBps The payee's part of the declared revenue.
/// @param firstPeriodEnd End of period 0, in seconds; period p ends `p * periodSeconds` later.
/// @param graceSeconds How long after a period's end its royalty can be paid without penalty.
/// @param latePenaltyBps Added to what is paid late, per started period of lateness, at most 10,000 in all.
/// @param auditor Who may correct declared revenue; zero for any auditor that the council has appointed.
struct RoyaltyTerms {
    uint16 revenueBps;
    uint48 firstPeriodEnd;
    uint32 periodSeconds;
    uint32 graceSeconds;
    uint16 latePenaltyBps;
    address auditor;
}

/// @notice What a buyer declares for one period (EIP-712, LicenseFees domain).
struct RevenueStatement {
    uint32 licenseId;
    uint32 period;
    uint96 revenue;
    bytes32 documentHash;
}

/// @notice What an auditor found for one period (EIP-712, LicenseFees domain).
/// @param revision Above that of every earlier correction of the period, so that a mistake can be taken back and an
/// old correction cannot come back.
struct AuditCorrection {
    uint32 licenseId;
    uint32 period;
    uint96 revenue;
    uint32 revision;
    bytes32 findingHash;
}
