// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Oracle operators' bonds, one per signer key
/// @notice Anyone puts money behind a key. Only the key takes it out again, and only after a thaw of at least 90 days
/// that everybody sees coming. Until it has left, all of it can be lost, whoever paid it in and whether or not the key
/// still is in a committee.
///
/// Safety: a bond is lost to a proof that disputes or challenges have checked, and to nothing else; no role can take,
/// move or block one. The parts of a slash sum to the slash. A key that once signed what it must not stays provable:
/// money put behind it later can be lost to the same proof again. What is owed here never exceeds the balance.
/// Liveness: nothing is pushed. A slash moves no token, so neither a pause nor a blocked wallet stops one; whoever is
/// owed something is paid at anybody's call, and a wallet that the token refuses delays only itself. A signer may thaw
/// while it governs: the council sees the event and has the thaw's time to rotate it out.
interface IOperatorBonds {
    /// @param bonded Stands behind the key.
    /// @param thawing Stands behind it too, but was asked back.
    /// @param thawedAt When all that is thawing can leave, in seconds; 0 when nothing is.
    struct Bond {
        uint96 bonded;
        uint96 thawing;
        uint48 thawedAt;
    }

    event BondDeposited(address indexed signer, address indexed from, uint96 amount);
    event ThawStarted(address indexed signer, uint96 amount, uint96 thawing, uint256 thawedAt);
    event ThawCanceled(address indexed signer, uint96 amount);
    event BondWithdrawn(address indexed signer, address indexed to, uint96 amount);
    /// @param reward The part of the slash that the reporter got.
    event BondSlashed(
        address indexed signer, address indexed by, address indexed reporter, uint96 slashed, uint96 reward
    );
    event CreditPaid(address indexed account, uint256 amount);
    event MinimumBondSet(uint96 amount);

    error OperatorBonds_ZeroAddress(string what);
    error OperatorBonds_ThawTooShort(uint32 seconds_, uint256 least);
    error OperatorBonds_ZeroSigner();
    error OperatorBonds_ZeroAmount();
    error OperatorBonds_ZeroRecipient();
    error OperatorBonds_BondTooLarge(address signer, uint256 total);
    error OperatorBonds_WrongDelta(uint256 expected, uint256 received);
    error OperatorBonds_InsufficientBond(address signer, uint96 bonded, uint96 amount);
    error OperatorBonds_NothingThawing(address signer);
    error OperatorBonds_StillThawing(uint256 thawedAt, uint256 nowSeconds);
    error OperatorBonds_OnlyProofs(address caller);
    error OperatorBonds_NoCredit(address account);

    /// @notice Put money behind a signer. Anyone who approved this contract; it becomes the signer's.
    function deposit(address signer, uint96 amount) external;

    /// @notice A signer asks part of its bond back. The clock starts again for all that is thawing.
    function thaw(uint96 amount) external;

    /// @notice A signer puts all that is thawing back behind its key.
    function cancelThaw() external;

    /// @notice A signer takes what has thawed.
    function withdraw(address to) external;

    /// @notice Disputes and challenges: take a signer's whole bond, thawing parts included. At most a tenth is
    /// credited to `reporter`, the rest to the remediation fund; both are pulled. With nothing left to take it changes
    /// nothing and does not fail, so that one signer's empty bond protects no other.
    /// @param reporter Nobody if zero: all goes to the fund.
    function slash(address signer, address reporter) external returns (uint96 slashed);

    /// @notice Pay what slashes have credited to an account, to that account. Anyone may call.
    function payCredit(address account) external returns (uint256 amount);

    /// @notice Council: the least that each signer of committee versions from now on must have bonded.
    function setMinimumBond(uint96 amount) external;

    function token() external view returns (address);
    function disputes() external view returns (address);
    function challenges() external view returns (address);
    function remediationFund() external view returns (address);
    function thawSeconds() external view returns (uint32);
    function bond(address signer) external view returns (Bond memory);
    /// @notice What a signer has bonded and is not thawing.
    function bonded(address signer) external view returns (uint96);
    function credit(address account) external view returns (uint256);
    /// @notice The least that each signer of a new committee version must have bonded; set by the council.
    function minimumBond() external view returns (uint96);
}
