// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Credits: what a buyer gives contributors besides money
/// @notice A buyer opens a program on a license (so many base units' worth per credit, until when, under which document)
/// and grants credits by the Merkle root of salted leaves, so that nothing public names who holds any. A holder redeems
/// credits and thereby burns them; the buyer signs what was given for them.
///
/// leaf = keccak256(0x08 ‖ holder(20) ‖ amount(12) ‖ salt(32)), padded as the lane tree (docs/spec.md section 3).
///
/// There is no function that moves a credit from one holder to another.
///
/// Safety: a program's terms and a grant's root never change. A grant never redeems more than its total, nor a leaf
/// more than its amount. Only the holder that a leaf names redeems it.
/// Liveness: what a credit buys is the buyer's promise. One who does not keep it leaves the redemption unconfirmed, for
/// everybody to see.
interface ICreditLedger {
    /// @param fairValue Of one credit, in base units of the registry's token. Says what was promised; nothing is paid.
    /// @param expiresAt First second in which nothing can be redeemed any more.
    struct Program {
        uint32 licenseId;
        uint96 fairValue;
        uint48 expiresAt;
        bytes32 documentHash;
    }

    struct Grant {
        uint64 programId;
        bytes32 root;
        uint32 count;
        uint96 total;
        uint96 redeemed;
    }

    /// @param requestHash Salted hash of what the holder asks for.
    struct Redemption {
        uint64 grantId;
        address holder;
        uint96 amount;
        bytes32 requestHash;
        bool confirmed;
    }

    event ProgramOpened(
        uint64 indexed programId, uint32 indexed licenseId, uint96 fairValue, uint48 expiresAt, bytes32 documentHash
    );
    event CreditsGranted(
        uint64 indexed grantId, uint64 indexed programId, bytes32 root, uint32 count, uint96 total
    );
    event CreditsRedeemed(
        uint64 indexed redemptionId,
        uint64 indexed grantId,
        address indexed holder,
        uint32 index,
        uint96 amount,
        bytes32 requestHash
    );
    event RedemptionConfirmed(uint64 indexed redemptionId, bytes32 documentHash);

    error CreditLedger_ZeroAddress(string what);
    error CreditLedger_NotBuyer(uint32 licenseId, address caller);
    error CreditLedger_ZeroFairValue();
    error CreditLedger_BadExpiry(uint48 expiresAt, uint256 nowSeconds);
    error CreditLedger_UnknownProgram(uint64 programId);
    error CreditLedger_UnknownGrant(uint64 grantId);
    error CreditLedger_UnknownRedemption(uint64 redemptionId);
    error CreditLedger_Expired(uint64 programId, uint48 expiresAt);
    error CreditLedger_EmptyGrant(bytes32 root, uint32 count, uint96 total);
    error CreditLedger_ZeroAmount();
    error CreditLedger_OverGranted(uint64 grantId, uint32 index, uint256 redeemed, uint96 granted);
    error CreditLedger_OverTotal(uint64 grantId, uint256 redeemed, uint96 total);
    error CreditLedger_AlreadyConfirmed(uint64 redemptionId);
    error CreditLedger_BadReceipt(address buyer, bytes32 digest);

    /// @notice The license's buyer promises credits.
    /// @return programId 1, 2, 3 … over all licenses.
    function openProgram(uint32 licenseId, uint96 fairValue, uint48 expiresAt, bytes32 documentHash)
        external
        returns (uint64 programId);

    /// @notice The license's buyer grants credits to the holders under a root.
    /// @param total Sum of the leaves' amounts.
    /// @return grantId 1, 2, 3 … over all programs.
    function grant(uint64 programId, bytes32 root, uint32 count, uint96 total) external returns (uint64 grantId);

    /// @notice A holder burns some or all credits of a leaf that names the caller.
    /// @param granted The leaf's amount.
    /// @param amount How many to burn now.
    /// @return redemptionId 1, 2, 3 … over all grants.
    function redeem(
        uint64 grantId,
        uint32 index,
        uint96 granted,
        bytes32 salt,
        bytes32[] calldata proof,
        uint96 amount,
        bytes32 requestHash
    ) external returns (uint64 redemptionId);

    /// @notice Confirm that what was asked for was given: the buyer calls, or anyone with the buyer's signed
    /// RedemptionReceipt (ECDSA or ERC-1271).
    /// @param documentHash Salted hash of what the buyer says was given.
    function confirm(uint64 redemptionId, bytes32 documentHash, bytes calldata signature) external;

    function program(uint64 programId) external view returns (Program memory);
    function grantOf(uint64 grantId) external view returns (Grant memory);
    function redemption(uint64 redemptionId) external view returns (Redemption memory);
    /// @notice Burned credits of one leaf.
    function redeemedOf(uint64 grantId, uint32 index) external view returns (uint96);
    function programCount() external view returns (uint64);
    function grantCount() external view returns (uint64);
    function redemptionCount() external view returns (uint64);
    function registry() external view returns (address);
    function hashReceipt(uint64 redemptionId, bytes32 documentHash) external view returns (bytes32 digest);
}
