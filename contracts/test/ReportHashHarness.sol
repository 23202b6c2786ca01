// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ReportHash} from "../libraries/ReportHash.sol";
import {EpochReport} from "../types/Report.sol";

/// @title ReportHash with a door, beside the compiler's own encoder to compare it with. Test only.
contract ReportHashHarness {
    function hash(EpochReport calldata report) external pure returns (bytes32) {
        return ReportHash.hash(report);
    }

    /// @notice The same hash by abi.encode, in two halves because the stack is short.
    function hashByEncoder(EpochReport calldata r) external pure returns (bytes32) {
        bytes memory lineHashes;
        for (uint256 i; i < r.lines.length; ++i) {
            lineHashes = bytes.concat(lineHashes, keccak256(abi.encode(ReportHash.LINE_TYPEHASH, r.lines[i])));
        }
        bytes memory front = abi.encode(
            ReportHash.REPORT_TYPEHASH,
            r.epoch,
            r.attempt,
            r.previousReportHash,
            r.periodEnd,
            r.cutoffBlock,
            r.cutoffBlockHash,
            r.signerSetVersion,
            r.ruleVersion,
            r.lanesRoot
        );
        bytes memory back = abi.encode(
            r.laneCount,
            r.notesRoot,
            r.notesTotal,
            r.noteCount,
            r.reserveRoot,
            r.reserveTotal,
            r.reserveCount,
            r.consentRoot,
            r.rosterHash,
            r.bundleHash,
            keccak256(lineHashes)
        );
        return keccak256(bytes.concat(front, back));
    }
}
