// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title What was consented and revoked, as commitments
/// @notice Batches of salted commitments by root, and revocations by the secret behind a tag. Nothing here names a
/// person, a dataset or a condition. Both kinds of entry enter one running hash, the accumulator, which a report must
/// carry as of its cut-off block:
///
/// accumulator' = keccak256(0x07 ‖ accumulator ‖ kind (1 byte) ‖ content (32) ‖ block time in seconds (8)), from 0.
/// A batch is kind 1, content keccak256(root ‖ count (4) ‖ publisher (20)); a revocation is kind 2, content its tag.
///
/// Safety: an entry is never changed or removed; nobody but who knows the secret can revoke a tag. Anyone may publish:
/// an entry means only what its publisher, or the holder of the tag, can show for it, and others' entries cost a
/// reader nothing but a different hash.
/// Liveness: revoking needs one transaction from any sender, and no permission. Sending a secret that was sent before,
/// by oneself or by somebody who saw it on its way, changes nothing and does not fail.
interface IConsentLog {
    /// @param count How many commitments the root is over.
    /// @param publishedAt Block time in seconds.
    struct Batch {
        bytes32 root;
        address publisher;
        uint32 count;
        uint48 publishedAt;
    }

    event BatchPublished(
        uint64 indexed batchId, address indexed publisher, bytes32 root, uint32 count, bytes32 accumulator
    );
    event ConsentRevoked(bytes32 indexed revokeTag, bytes32 accumulator);

    error ConsentLog_EmptyBatch(bytes32 root, uint32 count);
    error ConsentLog_UnknownBatch(uint64 batchId);
    error ConsentLog_FutureBlock(uint256 blockNumber, uint256 currentBlock);

    /// @notice Enter the root of a batch of salted commitments.
    /// @return batchId 1, 2, 3 … over all publishers.
    function publish(bytes32 root, uint32 count) external returns (uint64 batchId);

    /// @notice Revoke the tag that a secret opens: keccak256 of its 32 bytes. The first time counts; any other changes
    /// nothing.
    function forceRevoke(bytes32 secret) external returns (bytes32 revokeTag);

    /// @notice The running hash over all entries so far; 0 before the first.
    function accumulator() external view returns (bytes32);

    /// @notice The running hash at the end of a block of this chain; of the current block, the one so far.
    function accumulatorAt(uint256 blockNumber) external view returns (bytes32);

    /// @notice Block time of a tag's revocation, in seconds; 0 if it was not revoked.
    function revokedAt(bytes32 revokeTag) external view returns (uint48);

    function batchCount() external view returns (uint64);

    /// @dev Reverts for a batch that does not exist.
    function batch(uint64 batchId) external view returns (Batch memory);
}
