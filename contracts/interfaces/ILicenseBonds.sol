// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Buyers' usage bonds, one per license
/// @notice A buyer's own money, held against proof that its gateway cheated or that it failed a duty.
///
/// Safety: a bond leaves only back to its buyer, or by a proof that challenges or duties have checked; no role can
/// take it. It stays until nothing can be proven any more: the license's end, the merge delay, the evidence horizon and
/// the time to answer are over, a finalized report covers the end, royalties are stated and paid, and no challenge or
/// duty is open. Each slash is credited whole: at most a tenth to who reported it, the rest to the remediation fund.
/// Liveness: if the committee is gone the coverage never comes, and the time may be far off: once wind-down lets buyers
/// have their escrow back, only open challenges and duties hold a bond. Credits wait for ever; a token that refuses a
/// receiver stops nobody else.
interface ILicenseBonds {
    event BondCollected(uint32 indexed licenseId, address indexed from, uint96 amount);
    event BondSlashed(uint32 indexed licenseId, address indexed reporter, uint96 slashed, uint96 reward);
    event BondWithdrawn(uint32 indexed licenseId, address indexed to, uint96 amount);
    event CreditPaid(address indexed account, address indexed to, uint256 amount);

    error LicenseBonds_ZeroAddress(string what);
    error LicenseBonds_WrongToken(address given, address expected);
    error LicenseBonds_OnlyRegistry(address caller);
    error LicenseBonds_OnlySlashers(address caller);
    error LicenseBonds_AlreadyCollected(uint32 licenseId);
    error LicenseBonds_WrongDelta(uint256 expected, uint256 received);
    error LicenseBonds_NotBuyer(uint32 licenseId, address caller);
    error LicenseBonds_ZeroRecipient();
    error LicenseBonds_ChallengeOpen(uint32 licenseId, uint256 open);
    error LicenseBonds_DutyOpen(uint32 licenseId, uint256 open);
    error LicenseBonds_TooEarly(uint32 licenseId, uint256 releasableAt, uint256 nowSeconds);
    error LicenseBonds_NotCovered(uint32 licenseId, uint256 coveredUntil, uint256 neededUntil);
    error LicenseBonds_RoyaltyOwed(uint32 licenseId);
    error LicenseBonds_NothingLeft(uint32 licenseId);
    error LicenseBonds_NoCredit(address account);

    /// @notice Registry: pull the bond that an offer asks for, at acceptance. The buyer has approved this contract.
    function collect(uint32 licenseId, address from, uint96 amount) external;

    /// @notice Challenges and duties: take up to `amount` from a license's bond. At most a tenth of it is credited to
    /// `reporter` (nothing if that is zero), the rest to the remediation fund; both are pulled.
    /// @return slashed What was there to take.
    function slash(uint32 licenseId, uint96 amount, address reporter) external returns (uint96 slashed);

    /// @notice The buyer takes back what is left of the bond.
    function withdraw(uint32 licenseId, address to) external;

    /// @notice Take one's own credit to any address.
    function withdrawCredit(address to) external;

    /// @notice Pay what slashes have credited to an account, to that account. Anyone may call.
    function payCredit(address account) external;

    function bond(uint32 licenseId) external view returns (uint96);
    /// @notice The bond that the offer asked for.
    function agreedBond(uint32 licenseId) external view returns (uint96);
    /// @notice When the time for challenges and their answers is over, in seconds.
    function releasableAt(uint32 licenseId) external view returns (uint256);
    function credit(address account) external view returns (uint256);
    function token() external view returns (address);
    function registry() external view returns (address);
    function settlement() external view returns (address);
    function challenges() external view returns (address);
    function duties() external view returns (address);
    function remediationFund() external view returns (address);
    function maxMergeDelaySeconds() external view returns (uint32);
}
