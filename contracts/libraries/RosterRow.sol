// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title One row of a roster, read from its bytes
/// @notice purse(32) ‖ u64 weight ‖ payout(20) ‖ u96 threshold ‖ salt(32) ‖ u32 n ‖ n · recordTag ‖ u16 m ‖ m · (u64 fromMs
/// ‖ u64 toMs ‖ revokeTag(32)), as docs/spec.md section 5 lays it. Its leaf hashes at least 111 bytes, so no node of the
/// tree above it, which hashes 64, passes for a row.
library RosterRow {
    uint256 private constant TAGS_AT = 108;
    uint256 private constant INTERVAL_BYTES = 48;

    error RosterRow_BadForm(uint256 length);
    error RosterRow_NoSuchTag(uint256 position, uint256 count);

    function leaf(bytes calldata row) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"05", row));
    }

    /// @notice How many record tags and consent intervals a row has. Reverts unless its length is what these need.
    function counts(bytes calldata row) internal pure returns (uint256 tags, uint256 intervals) {
        if (row.length < TAGS_AT + 2) revert RosterRow_BadForm(row.length);
        tags = uint32(bytes4(row[TAGS_AT - 4:TAGS_AT]));
        uint256 intervalsAt = TAGS_AT + 32 * tags + 2;
        if (row.length < intervalsAt) revert RosterRow_BadForm(row.length);
        intervals = uint16(bytes2(row[intervalsAt - 2:intervalsAt]));
        if (row.length != intervalsAt + INTERVAL_BYTES * intervals) revert RosterRow_BadForm(row.length);
    }

    /// @param tags From `counts`.
    function tagAt(bytes calldata row, uint256 tags, uint256 position) internal pure returns (bytes32) {
        if (position >= tags) revert RosterRow_NoSuchTag(position, tags);
        return bytes32(row[TAGS_AT + 32 * position:]);
    }

    /// @param tags From `counts`; the caller stays below its number of intervals.
    function intervalAt(bytes calldata row, uint256 tags, uint256 position)
        internal
        pure
        returns (uint64 fromMs, uint64 toMs, bytes32 revokeTag)
    {
        uint256 start = TAGS_AT + 32 * tags + 2 + INTERVAL_BYTES * position;
        return (uint64(bytes8(row[start:])), uint64(bytes8(row[start + 8:])), bytes32(row[start + 16:]));
    }
}
