// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {LicenseOffer} from "../types/License.sol";
import {DutyKind} from "../types/Removal.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @title A steward that is many: members, votes, a bargaining mandate, and deals divided among members
/// @notice The steward of a license can be this contract. Members decide by vote, one member one vote, or give an agent
/// a mandate to approve offers within limits. An approved offer freezes the formula by which its money is divided: the
/// members' shares of that moment. Whoever leaves later keeps their part of it; whoever joins later has none.
///
/// Formula. Every change of shares makes a new version; a version never changes. A member's part of a license is
/// ⌊all that the steward of it ever earned × the member's shares in the deal's version / all shares in it⌋, less what
/// was paid. All parts round down: fewer base units than members stay behind for all time, per license.
///
/// Safety: no vote, agent or later formula changes the parts of an approved deal, nor sends its money anywhere but to
/// its members. A signature of this contract (ERC-1271) is valid for exactly the offers approved here, of the one
/// registry, while the mandate is in force. Nobody but a founder becomes a member without their own call. Shares decide
/// parts, never votes.
/// Liveness: a vote needs its quorum. A member whom the token refuses waits alone. Money that arrives otherwise than as
/// the steward's share of a license belongs to no deal and stays.
interface IStewardCooperative is IERC1271 {
    /// @notice What an offer can be beyond.
    enum Limit {
        None,
        Administers,
        CollectionHash,
        MeterKind,
        DealsLeft,
        ExpiresAt,
        LatestEnd,
        FloorPrice,
        LeastCapPerEpoch,
        LeastUpfrontFee,
        MostCoolingOff,
        LeastUsageBond,
        LeastContributorsBps,
        LeastStewardBps
    }

    struct Share {
        address account;
        uint32 shares;
    }

    /// @param votingPeriodSeconds How long a ballot is open.
    /// @param quorumPercent Part of all members, 1 … 100, that must have voted.
    struct Rules {
        uint32 votingPeriodSeconds;
        uint8 quorumPercent;
    }

    /// @param version Members of this version vote.
    /// @param closesAt First moment without votes, in seconds.
    struct Ballot {
        bytes32 callHash;
        uint48 version;
        uint48 closesAt;
        uint32 yes;
        uint32 no;
        bool executed;
    }

    /// @notice What an agent may do: approve offers of one collection and meter kind that are no worse than this.
    /// @param expiresAt In seconds; offers must be accepted before.
    /// @param dealsLeft How many more offers the agent may approve.
    /// @param leastCapPerEpoch Of maxChargePerEpoch: a low cap would make a high price worthless.
    /// @param latestEnd The latest end of a license, in seconds.
    /// @param mostCoolingOffSeconds Until then the buyer may leave and take the upfront fee back.
    /// @param administers Whether the agent also sets rosters, gives notice, suspends lanes and opens removal duties for
    /// licenses of the collection.
    struct Mandate {
        address agent;
        uint48 expiresAt;
        uint8 meterKind;
        bool administers;
        uint96 floorPricePerMillionUnits;
        uint96 leastCapPerEpoch;
        uint32 dealsLeft;
        uint96 leastUsageBond;
        uint96 leastUpfrontFee;
        uint16 leastContributorsBps;
        uint16 leastStewardBps;
        uint64 latestEnd;
        uint32 mostCoolingOffSeconds;
        bytes32 collectionHash;
    }

    /// @param version Of the formula; 0 if nothing was approved under this digest.
    /// @param mandateId Whose approval it is; 0 for a vote.
    struct Deal {
        uint48 version;
        uint48 approvedAt;
        uint32 mandateId;
        bool withdrawn;
    }

    event SharesSet(address indexed account, uint32 shares, uint48 indexed version);
    event MemberInvited(address indexed account, uint32 shares);
    event MergerApproved(address indexed other, uint48 version);
    event MergedInto(address indexed other, uint48 version);
    event BallotOpened(uint256 indexed ballotId, address indexed proposer, uint48 version, uint48 closesAt, bytes call);
    event VoteCast(uint256 indexed ballotId, address indexed member, bool support);
    event BallotExecuted(uint256 indexed ballotId);
    event MandateGranted(uint32 indexed mandateId, address indexed agent, Mandate mandate);
    event MandateRevoked(uint32 indexed mandateId, address by);
    /// @notice The offer itself is in the call.
    event OfferApproved(bytes32 indexed digest, uint32 indexed mandateId, uint48 version);
    event ApprovalWithdrawn(bytes32 indexed digest, address by);
    event MemberPaid(uint32 indexed licenseId, address indexed member, uint256 amount);

    error StewardCooperative_ZeroAddress(string what);
    error StewardCooperative_BadRules(uint32 votingPeriodSeconds, uint8 quorumPercent);
    error StewardCooperative_NoMembers();
    error StewardCooperative_BadMember(address account);
    error StewardCooperative_OnlyByVote(address caller);
    error StewardCooperative_NotMember(address account);
    error StewardCooperative_MemberAlready(address account);
    error StewardCooperative_ZeroShares(address account);
    error StewardCooperative_NotInvited(address account);
    error StewardCooperative_Merged(address into);
    error StewardCooperative_NotACooperative(address other);
    error StewardCooperative_MergerNotApproved(address other, uint48 version);
    error StewardCooperative_NotMergedHere(address other);
    error StewardCooperative_AlreadyJoined(address other, address account);
    error StewardCooperative_UnknownBallot(uint256 ballotId);
    error StewardCooperative_BallotClosed(uint256 ballotId);
    error StewardCooperative_AlreadyVoted(uint256 ballotId, address member);
    error StewardCooperative_BallotExecuted(uint256 ballotId);
    error StewardCooperative_WrongCall(uint256 ballotId);
    error StewardCooperative_NotPassed(uint256 ballotId);
    error StewardCooperative_BallotLapsed(uint256 ballotId);
    error StewardCooperative_BadMandate(uint32 mandateId);
    error StewardCooperative_NotAgent(uint32 mandateId, address caller);
    error StewardCooperative_MandateOver(uint32 mandateId);
    error StewardCooperative_BeyondMandate(uint32 mandateId, Limit limit);
    error StewardCooperative_NotTheSteward(address steward);
    error StewardCooperative_DealExists(bytes32 digest);
    error StewardCooperative_UnknownDeal(bytes32 digest);
    error StewardCooperative_NothingToPay(uint32 licenseId, address member);

    // -- members -----------------------------------------------------------------------------------------------

    /// @notice Vote: invite accounts, each with the shares it will have; 0 shares withdraw an invitation.
    function invite(Share[] calldata invitations) external;

    /// @notice An invited account becomes a member.
    function join() external;

    /// @notice A member leaves. What frozen deals owe stays theirs.
    function leave() external;

    /// @notice Vote: set the shares of members for later deals; 0 shares expel one.
    function setShares(Share[] calldata changes) external;

    /// @notice Vote: let the members of another cooperative in, with the shares they have there in that version, once it
    /// merges into this one. Version 0 takes an approval back.
    function approveMerger(address other, uint48 version) external;

    /// @notice Vote: merge into another cooperative that has approved exactly the present members. From then on no shares
    /// change here and no offers are approved; deals go on being divided here, and licenses being administered.
    function mergeInto(address other) external;

    /// @notice A member of a cooperative that has merged into this one joins, or adds the shares to those held here. Not
    /// once this one has merged itself: what it brought along was settled then.
    function joinByMerger(address other) external;

    // -- votes -------------------------------------------------------------------------------------------------

    /// @notice A member opens a ballot on one call of this contract to itself.
    function propose(bytes calldata call) external returns (uint256 ballotId);

    /// @notice Vote once. Who was a member when the ballot opened, and is one still, may.
    function vote(uint256 ballotId, bool support) external;

    /// @notice Make the call that a ballot passed: when it is closed, with quorum and more yes than no; or as soon as
    /// more than half of all members said yes. Until 30 days after it closed. Anyone may.
    function execute(uint256 ballotId, bytes calldata call) external;

    // -- bargaining --------------------------------------------------------------------------------------------

    /// @notice Vote: give an agent a mandate.
    /// @return mandateId 1, 2, 3 …
    function grantMandate(Mandate calldata mandate_) external returns (uint32 mandateId);

    /// @notice Vote, or the agent: end a mandate, and with it all approvals that were not accepted yet.
    function revokeMandate(uint32 mandateId) external;

    /// @notice The agent under its mandate, or a vote under mandate 0, approves an offer: freezes its formula and makes
    /// this contract's signature of it valid.
    function approveOffer(uint32 mandateId, LicenseOffer calldata offer) external returns (bytes32 digest);

    /// @notice The agent who approved, or a vote: take back an approval that was not accepted yet. Money of one that was
    /// stays divided as frozen.
    function withdrawApproval(bytes32 digest) external;

    // -- administering licenses: an agent whose mandate says so, or a vote under mandate 0 ---------------------

    function cancelOffer(uint32 mandateId, uint256 nonce) external;
    function setRoster(uint32 mandateId, uint32 licenseId, bytes32 rosterRoot) external;
    function giveNotice(uint32 mandateId, uint32 licenseId) external;
    function setSuspended(uint32 mandateId, uint32 licenseId, bool suspended) external;
    function openDuty(uint32 mandateId, uint32 licenseId, DutyKind kind, bytes32 revokeTag) external;
    /// @notice Vote: declare this steward's interests in the council's register.
    function declareInterests(bytes32 declarationHash) external;

    // -- money -------------------------------------------------------------------------------------------------

    /// @notice Send a member their part of what a license has earned. Anyone may.
    function pay(uint32 licenseId, address member) external returns (uint256 amount);

    /// @notice What {pay} would send now. Reverts if this contract never approved the license's offer.
    function owed(uint32 licenseId, address member) external view returns (uint256);
    function paid(uint32 licenseId, address member) external view returns (uint256);

    function registry() external view returns (address);
    function splitter() external view returns (address);
    function duties() external view returns (address);
    function councilRegister() external view returns (address);
    function rules() external view returns (Rules memory);
    /// @notice The version of the formula that a deal approved now would freeze.
    function formulaVersion() external view returns (uint48);
    function sharesAt(address account, uint48 version) external view returns (uint256);
    function totalSharesAt(uint48 version) external view returns (uint256);
    function memberCountAt(uint48 version) external view returns (uint256);
    function isMember(address account) external view returns (bool);
    function invitation(address account) external view returns (uint32 shares);
    function mergedInto() external view returns (address);
    function approvedMerger(address other) external view returns (uint48 version);
    function ballot(uint256 ballotId) external view returns (Ballot memory);
    function hasVoted(uint256 ballotId, address member) external view returns (bool);
    function mandate(uint32 mandateId) external view returns (Mandate memory);
    function deal(bytes32 digest) external view returns (Deal memory);
}
