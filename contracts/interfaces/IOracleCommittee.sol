// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Who may sign reports, and how many must
/// @notice A table of signers per version, kept as contract code. n >= 4, f = (n - 1) / 3, k = (n + f) / 2 + 1.
///
/// Safety: k distinct members of the version that governs an epoch, or nothing; a rotation never touches an
/// epoch that is already open, so it cannot void a pending report. Signers who, taken together, are more than f others
/// than when everything earned was last paid out report nothing before it is paid out again: a new committee never
/// decides on what the old one had found to be earned.
/// Liveness: n - f honest signers are enough to report. Anyone can pay out what must be (settlement.issueReserve).
interface IOracleCommittee {
    event SignersRotated(uint32 indexed version, uint48 fromEpoch, address[] signers);
    /// @notice A later version took all epochs that this one was to govern.
    event VersionReplaced(uint32 indexed version);

    error OracleCommittee_ZeroAddress(string what);
    error OracleCommittee_TooFewSigners(uint256 count);
    error OracleCommittee_TooManySigners(uint256 count);
    error OracleCommittee_SignersNotAscending(address previous, address next);
    error OracleCommittee_EpochNotInFuture(uint48 fromEpoch, uint48 firstAllowed);
    error OracleCommittee_EpochTooFar(uint48 fromEpoch, uint48 lastAllowed);
    error OracleCommittee_StaleVersion(uint32 version, uint32 expected);
    error OracleCommittee_TableNotStored();
    error OracleCommittee_BondTooSmall(address signer, uint96 bonded, uint96 minimum);
    /// @notice The reserve of this epoch's report must be issued first.
    error OracleCommittee_ReserveNotIssued(uint64 epoch);
    error OracleCommittee_UnknownVersion(uint32 version);
    error OracleCommittee_BadSignatureLength(uint256 length);
    error OracleCommittee_NotEnoughSignatures(uint256 given, uint256 threshold);
    error OracleCommittee_SignatureOutOfOrder(uint256 previousIndex, uint256 index);
    error OracleCommittee_UnknownSigner(uint256 index, uint256 count);
    error OracleCommittee_WrongSignature(uint256 index, address expected, address recovered);
    error OracleCommittee_MalleableSignature(uint256 index);

    /// @notice Council: a new table, governing from a future epoch on, at most 366 epochs ahead. It replaces every
    /// version that was to begin at that epoch or later.
    /// @param signers Ascending addresses: duplicates and zero cannot occur. Each has bonded the minimum, if there is one.
    function rotate(address[] calldata signers, uint48 fromEpoch) external returns (uint32 version);

    /// @notice Check that k distinct signers of the governing version signed a digest. Reverts otherwise.
    /// @param signatures 65 bytes each, signer index ascending: index(1) ‖ r(32) ‖ vs(32), as EIP-2098.
    function requireQuorum(uint64 epoch, uint32 version, bytes32 digest, bytes calldata signatures) external view;

    /// @notice Who signed a digest that has a quorum. Reverts as requireQuorum does, except that whether a reserve was
    /// issued no longer matters: this looks back.
    function quorumSigners(uint64 epoch, uint32 version, bytes32 digest, bytes calldata signatures)
        external
        view
        returns (address[] memory signed);

    function settlement() external view returns (address);
    /// @notice Where each signer of a new version must have bonded enough.
    function operatorBonds() external view returns (address);
    function latestVersion() external view returns (uint32);
    /// @notice The version that governs an epoch; 0 for epoch 0, which nobody reports.
    function versionFor(uint64 epoch) external view returns (uint32);
    /// @notice Whether an epoch's report needs the reserve of the report before it to be issued first.
    function issuesReserveFirst(uint64 epoch) external view returns (bool);
    function signersOf(uint32 version) external view returns (address[] memory signers, uint48 fromEpoch);
    function threshold(uint256 count) external pure returns (uint256 k);
}
