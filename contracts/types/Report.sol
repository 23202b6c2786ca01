// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice One license in one epoch's report.
/// @param licenseId Registry number of the license; lines ascend by it.
/// @param cumulativeUnits Units counted since the license began, over all its lanes.
/// @param charge Base units drawn from the license's escrow by this report.
struct ReportLine {
    uint32 licenseId;
    uint128 cumulativeUnits;
    uint96 charge;
}

/// @notice What the committee signs, once per (epoch, attempt). Its EIP-712 struct hash is the report hash.
/// @param periodEnd End of the reporting period, in seconds of chain time.
/// @param cutoffBlock The block whose state the report was computed from.
/// @param lanesRoot Root over one checkpoint hash per registered lane, by lane number.
/// @param notesRoot Merkle-sum root of the notes this report issues; see docs/spec.md for the tree.
/// @param reserveRoot Merkle-sum root of who would get what if no report ever came again.
struct EpochReport {
    uint64 epoch;
    uint32 attempt;
    bytes32 previousReportHash;
    uint64 periodEnd;
    uint64 cutoffBlock;
    bytes32 cutoffBlockHash;
    uint32 signerSetVersion;
    uint32 ruleVersion;
    bytes32 lanesRoot;
    uint32 laneCount;
    bytes32 notesRoot;
    uint96 notesTotal;
    uint32 noteCount;
    bytes32 reserveRoot;
    uint96 reserveTotal;
    uint32 reserveCount;
    bytes32 consentRoot;
    bytes32 rosterHash;
    bytes32 bundleHash;
    ReportLine[] lines;
}
