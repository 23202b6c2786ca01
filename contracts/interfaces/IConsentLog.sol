// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title What was consented and revoked, as commitments
/// @notice Batches of salted commitments by root, and revocations by the secret behind a tag. Nothing here names a
/// person, a dataset or a condition. Both kinds of entry enter one running hash, the accumulator, which a report must
/// carry as of its cut-off block.
///
/// Safety: an entry is never changed or removed; nobody but who knows the secret can revoke a tag.
/// Liveness: revoking needs one transaction from any sender, and no permission.
interface IConsentLog {
    event BatchPublished(uint64 indexed batchId, address indexed publisher, bytes32 root, uint32 count, bytes32 accumulator);
    event ConsentRevoked(bytes32 indexed revokeTag, bytes32 accumulator);

    function publish(bytes32 root, uint32 count) external returns (uint64 batchId);
    function forceRevoke(bytes32 secret) external returns (bytes32 revokeTag);

    /// @notice The running hash over all entries so far; 0 before the first.
    function accumulator() external view returns (bytes32);
    /// @notice The running hash at the end of a block of this chain.
    function accumulatorAt(uint256 blockNumber) external view returns (bytes32);
    /// @notice Block time of a tag's revocation, in seconds; 0 if it was not revoked.
    function revokedAt(bytes32 revokeTag) external view returns (uint48);
}
