// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {License, LicenseOffer, LicensePricing, LaneRegistration} from "../types/License.sol";

/// @title Licenses and the lanes that count their use
/// @notice A steward signs an offer, the named buyer accepts it, and from then on its terms never change.
///
/// Safety: terms, splits, floors and the community are fixed at acceptance; no role can edit a license, a lane or a
/// roster; no license exists whose upfront fee and bond were not paid.
/// Liveness: a steward who never sets a roster root leaves usage counted and due, but not charged.
interface ILicenseRegistry {
    event TemplateSet(bytes32 indexed templateHash, bool approved);
    event FloorsSet(uint16 contributorsBps, uint16 communityBps);
    event BondEpochsSet(uint16 epochs);
    event CommunitySet(address indexed community);
    event LicenseAccepted(
        uint32 indexed licenseId, address indexed steward, address indexed buyer, bytes32 offerHash, LicenseOffer offer
    );
    event LicenseEndSet(uint32 indexed licenseId, uint48 endsAt, address by);
    event LicenseSuspensionSet(uint32 indexed licenseId, bool suspended);
    event LaneRegistered(
        uint32 indexed laneNumber,
        address indexed lane,
        uint32 indexed licenseId,
        uint64 validFrom,
        uint64 validTo,
        uint128 unitCap
    );
    event LaneRevoked(uint32 indexed laneNumber, address indexed lane);
    event RosterSet(uint32 indexed licenseId, bytes32 rosterRoot);
    event OfferCanceled(address indexed steward, uint256 nonce);

    error LicenseRegistry_ZeroAddress(string what);
    error LicenseRegistry_UnknownLicense(uint32 licenseId);
    error LicenseRegistry_NotBuyer(uint32 licenseId, address caller);
    error LicenseRegistry_NotSteward(uint32 licenseId, address caller);
    error LicenseRegistry_NotParty(uint32 licenseId, address caller);
    error LicenseRegistry_WrongBuyer(address expected, address caller);
    error LicenseRegistry_OfferExpired(uint64 deadline, uint256 nowSeconds);
    error LicenseRegistry_OfferUsed(address steward, uint256 nonce);
    error LicenseRegistry_SettlementStopped(address settlement);
    error LicenseRegistry_TemplateNotApproved(bytes32 templateHash);
    error LicenseRegistry_WrongToken(address offered, address expected);
    error LicenseRegistry_UnknownMeterKind(uint8 meterKind);
    error LicenseRegistry_SplitNotWhole(uint256 sumBps);
    error LicenseRegistry_BelowFloor(
        uint16 contributorsBps, uint16 communityBps, uint16 floorContributorsBps, uint16 floorCommunityBps
    );
    error LicenseRegistry_BadTerm(uint64 startsAt, uint64 endsAt);
    error LicenseRegistry_ZeroCap();
    error LicenseRegistry_BondTooSmall(uint96 usageBond, uint256 least);
    error LicenseRegistry_BadStewardSignature(address steward, bytes32 digest);
    error LicenseRegistry_BadLaneSignature(address lane, bytes32 digest);
    error LicenseRegistry_LaneTaken(address lane, uint32 laneNumber);
    error LicenseRegistry_BadLaneValidity(uint64 validFrom, uint64 validTo);
    error LicenseRegistry_ZeroUnitCap(address lane);
    error LicenseRegistry_LicenseEnded(uint32 licenseId, uint48 endsAt);
    error LicenseRegistry_LicenseSuspended(uint32 licenseId);
    error LicenseRegistry_CoolingOffOver(uint32 licenseId, uint256 endedAt);
    error LicenseRegistry_AlreadyCooledOff(uint32 licenseId);
    error LicenseRegistry_OnlyChallenges(address caller);
    error LicenseRegistry_BadFloors(uint16 contributorsBps, uint16 communityBps);
    error LicenseRegistry_ZeroRosterRoot(uint32 licenseId);

    /// @notice Accept a steward's signed offer. Only the buyer it names may call, who has approved `fees` for the
    /// upfront fee and `bonds` for the usage bond: both are paid now, or there is no license. Offers still open when the
    /// settlement stops lapse with it.
    /// @return licenseId 1, 2, 3 … in order of acceptance.
    function accept(LicenseOffer calldata offer, bytes calldata stewardSignature) external returns (uint32 licenseId);

    /// @notice A steward withdraws an offer that nobody has accepted yet.
    function cancelOffer(uint256 nonce) external;

    /// @notice Bind a gateway key to a license. The buyer calls; the key itself has signed.
    /// @return laneNumber 0, 1, 2 … over all licenses.
    function registerLane(LaneRegistration calldata registration, bytes calldata laneSignature)
        external
        returns (uint32 laneNumber);

    /// @notice The steward publishes the root of the salted roster that governs receipts counted from the next cut-off.
    function setRoster(uint32 licenseId, bytes32 rosterRoot) external;

    /// @notice Buyer or steward ends the license after its notice period. Ending never blocks units already used.
    function giveNotice(uint32 licenseId) external;

    /// @notice The buyer leaves at once, within the cooling-off time, once. That the license has ended already, by
    /// somebody's notice or by its terms, takes nothing of this right.
    function coolOff(uint32 licenseId) external;

    /// @notice The steward stops (or resumes) the registration of new lanes. Past units stay payable.
    function setSuspended(uint32 licenseId, bool suspended) external;

    /// @notice Challenges: mark a lane whose key was proven to cheat. Doing it again changes nothing.
    /// @dev Reverts (panic 0x32) beyond laneCount.
    function revokeLane(uint32 laneNumber) external;

    /// @notice Council: approve or withdraw an offer template.
    function setTemplate(bytes32 templateHash, bool approved) external;

    /// @notice Council: the least that contributors and community must get in offers accepted from now on.
    function setFloors(uint16 contributorsBps, uint16 communityBps) external;

    /// @notice Council: offers accepted from now on carry a usage bond of at least maxChargePerEpoch x epochs: what a
    /// buyer could use before its hiding it can be proven. 0 asks for none.
    function setBondEpochs(uint16 epochs) external;

    /// @notice Council: who receives the community's share of licenses accepted from now on.
    function setCommunity(address community_) external;

    function token() external view returns (address);
    /// @notice Collects what an offer asks for at acceptance.
    function fees() external view returns (address);
    /// @notice Collects the usage bond that an offer asks for.
    function bonds() external view returns (address);
    /// @notice May revoke lanes: a buyer's gateway was proven to cheat.
    function challenges() external view returns (address);
    /// @notice Community of licenses accepted from now on.
    function community() external view returns (address);
    function licenseCount() external view returns (uint32);
    function laneCount() external view returns (uint32);
    function bondEpochs() external view returns (uint16);
    function floors() external view returns (uint16 contributorsBps, uint16 communityBps);
    function templateApproved(bytes32 templateHash) external view returns (bool);
    function offerUsed(address steward, uint256 nonce) external view returns (bool);

    /// @dev Reverts for a license that does not exist.
    function license(uint32 licenseId) external view returns (License memory);
    /// @dev Reverts for a license that does not exist.
    function pricing(uint32 licenseId) external view returns (LicensePricing memory);
    /// @notice Who receives the community's share of a license: the community at its acceptance.
    /// @dev Reverts for a license that does not exist.
    function communityOf(uint32 licenseId) external view returns (address);
    /// @notice Whether the buyer left within the cooling-off time.
    function cooledOff(uint32 licenseId) external view returns (bool);
    /// @notice How often a roster root was set for a license, and what was set when, in seconds; oldest first.
    function rosterCount(uint32 licenseId) external view returns (uint256);
    /// @dev Reverts (panic 0x32) beyond rosterCount.
    function rosterAt(uint32 licenseId, uint256 index) external view returns (bytes32 root, uint48 setAt);
    /// @notice Lanes that were ever registered for a license.
    function laneCountOf(uint32 licenseId) external view returns (uint32);
    /// @notice When a lane was revoked, in seconds; 0 if it was not.
    function laneRevokedAt(uint32 laneNumber) external view returns (uint48);
    /// @dev Lanes are numbered from 0; reverts (panic 0x32) beyond laneCount.
    function laneAt(uint32 laneNumber) external view returns (LaneRegistration memory);
    /// @return registered Whether the key is a lane at all; laneNumber is meaningless otherwise.
    function laneNumberOf(address lane) external view returns (bool registered, uint32 laneNumber);

    function hashOffer(LicenseOffer calldata offer) external view returns (bytes32 digest);
    function hashLane(LaneRegistration calldata registration) external view returns (bytes32 digest);
}
