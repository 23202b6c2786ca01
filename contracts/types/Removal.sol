// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {SignedReceipt} from "./Receipt.sol";

/// @notice What a revoked record has to be removed from.
enum DutyKind {
    Retrieval,
    Training
}

/// @notice One entry of the usage list under a receipt's usageRoot (docs/spec.md section 3).
/// @param salt The entry's own, keccak256(list salt ‖ u32 index), which opens no other entry.
/// @param count Entries of the list.
struct UsedRecord {
    bytes32 recordTag;
    uint32 weight;
    bytes32 salt;
    uint32 index;
    uint32 count;
    bytes32[] proof;
}

/// @notice A row under a roster root (docs/spec.md section 5).
/// @param tagPosition Where the used record's tag stands among the row's tags.
/// @param index Position of the row in the roster.
/// @param count Rows of the roster.
struct RowOpening {
    bytes row;
    uint32 tagPosition;
    uint32 index;
    uint32 count;
    bytes32[] proof;
}

/// @notice That a call used a record whose consent had ended.
/// @param firstRoster Number, in the license's history, of a roster that was set a grace period before the call.
/// @param rows The record's row in that roster and in each later one up to the call.
struct ForbiddenUse {
    SignedReceipt signed;
    UsedRecord used;
    uint256 firstRoster;
    RowOpening[] rows;
}
