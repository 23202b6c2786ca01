// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title A community's share, divided among named beneficiaries for ever
/// @notice What licenses pay to a community arrives here. Who gets which part is fixed when the fund is deployed; the
/// council changes it by naming another fund for licenses accepted from then on.
///
/// Each part is cumulative: ⌊all that ever arrived × bps / 10⁴⌋, less what was paid. All of them round down, the last
/// one too: a part that took "the rest" would shrink whenever two floors step at once, after it was paid. At most one
/// base unit per beneficiary but one stays behind, for all time.
///
/// Safety: nobody's part depends on who is paid first, how often, or by whom; there is no role.
/// Liveness: a beneficiary the token refuses waits alone. Any ERC-20 that arrives is divided, one by one.
interface ICommunityFund {
    /// @param name Who it is, for people to read: "Rare Disease Foundation".
    struct Beneficiary {
        address account;
        uint16 bps;
        string name;
    }

    event BeneficiaryNamed(uint256 indexed index, address indexed account, uint16 bps, string name);
    event BeneficiaryPaid(uint256 indexed index, address indexed asset, address indexed account, uint256 amount);

    error CommunityFund_NoBeneficiaries();
    error CommunityFund_BadBeneficiary(uint256 index, address account, uint16 bps);
    error CommunityFund_BeneficiaryTwice(address account);
    error CommunityFund_PartsNotWhole(uint256 sumBps);
    error CommunityFund_UnknownBeneficiary(uint256 index);
    error CommunityFund_NothingToPay(address asset, uint256 index);

    /// @notice Send a beneficiary its part of what arrived in a token. Anyone may.
    function pay(address asset, uint256 index) external returns (uint256 amount);

    /// @notice What `pay` would send now.
    function owed(address asset, uint256 index) external view returns (uint256);
    /// @notice All of a token that ever arrived.
    function received(address asset) external view returns (uint256);
    function paid(address asset, uint256 index) external view returns (uint256);
    function beneficiaryCount() external view returns (uint256);
    /// @dev Reverts for a beneficiary that does not exist.
    function beneficiary(uint256 index) external view returns (Beneficiary memory);
}
