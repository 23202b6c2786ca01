// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {EpochReport, ReportLine} from "../types/Report.sol";

/// @title EIP-712 struct hash of a report, straight from calldata
/// @notice Every member but the lines is one calldata word, in the order of the type string, so the encoding is a
/// copy. Bits that a type leaves unused are hashed as given: padding them gives another hash, which nobody signed.
library ReportHash {
    bytes32 internal constant LINE_TYPEHASH =
        keccak256("ReportLine(uint32 licenseId,uint128 cumulativeUnits,uint96 charge)");
    bytes32 internal constant REPORT_TYPEHASH = keccak256(
        "EpochReport(uint64 epoch,uint32 attempt,bytes32 previousReportHash,uint64 periodEnd,uint64 cutoffBlock,bytes32 cutoffBlockHash,uint32 signerSetVersion,uint32 ruleVersion,bytes32 lanesRoot,uint32 laneCount,bytes32 notesRoot,uint96 notesTotal,uint32 noteCount,bytes32 reserveRoot,uint96 reserveTotal,uint32 reserveCount,bytes32 consentRoot,bytes32 rosterHash,bytes32 bundleHash,ReportLine[] lines)ReportLine(uint32 licenseId,uint128 cumulativeUnits,uint96 charge)"
    );

    /// @dev The 19 members of EpochReport before `lines`.
    uint256 private constant HEAD_BYTES = 608;

    function hash(EpochReport calldata report) internal pure returns (bytes32 structHash) {
        bytes32 typeHash = REPORT_TYPEHASH;
        bytes32 hashOfLines = hashLines(report.lines);
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            mstore(buffer, typeHash)
            calldatacopy(add(buffer, 32), report, HEAD_BYTES)
            mstore(add(buffer, add(32, HEAD_BYTES)), hashOfLines)
            structHash := keccak256(buffer, add(64, HEAD_BYTES))
        }
    }

    /// @notice keccak256 of the concatenated struct hashes of the lines.
    function hashLines(ReportLine[] calldata lines) internal pure returns (bytes32 hashOfLines) {
        bytes32 typeHash = LINE_TYPEHASH;
        assembly ("memory-safe") {
            let encoded := mload(0x40) // type hash and the three members of one line
            let hashes := add(encoded, 128)
            let size := shl(5, lines.length)
            let line := lines.offset
            mstore(encoded, typeHash)
            for { let offset := 0 } lt(offset, size) { offset := add(offset, 32) } {
                calldatacopy(add(encoded, 32), line, 96)
                mstore(add(hashes, offset), keccak256(encoded, 128))
                line := add(line, 96)
            }
            hashOfLines := keccak256(hashes, size)
        }
    }
}
