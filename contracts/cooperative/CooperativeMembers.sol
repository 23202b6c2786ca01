// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IStewardCooperative} from "../interfaces/IStewardCooperative.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";

/// @title Members of a cooperative and their shares, in every version there was
/// @notice Rules and guarantees: {IStewardCooperative}.
abstract contract CooperativeMembers is IStewardCooperative {
    using Checkpoints for Checkpoints.Trace208;

    /// @inheritdoc IStewardCooperative
    uint48 public formulaVersion;
    /// @inheritdoc IStewardCooperative
    address public mergedInto;
    mapping(address account => Checkpoints.Trace208) private _shares;
    Checkpoints.Trace208 private _totalShares;
    Checkpoints.Trace208 private _memberCount;
    /// @inheritdoc IStewardCooperative
    mapping(address account => uint32 shares) public invitation;
    /// @inheritdoc IStewardCooperative
    mapping(address other => uint48 version) public approvedMerger;
    mapping(address other => mapping(address account => bool)) private _joinedFrom;

    /// @dev What a ballot passed, and nothing else.
    modifier onlyByVote() {
        if (msg.sender != address(this)) revert StewardCooperative_OnlyByVote(msg.sender);
        _;
    }

    modifier beforeMerger() {
        if (mergedInto != address(0)) revert StewardCooperative_Merged(mergedInto);
        _;
    }

    constructor(Share[] memory founders) {
        if (founders.length == 0) revert StewardCooperative_NoMembers();
        uint48 version = ++formulaVersion;
        for (uint256 i; i < founders.length; ++i) {
            _requireNewcomer(founders[i].account);
            if (founders[i].shares == 0) revert StewardCooperative_ZeroShares(founders[i].account);
            _setShares(founders[i].account, founders[i].shares, version);
        }
    }

    /// @inheritdoc IStewardCooperative
    function invite(Share[] calldata invitations) external onlyByVote beforeMerger {
        for (uint256 i; i < invitations.length; ++i) {
            Share calldata invited = invitations[i];
            _requireNewcomer(invited.account);
            invitation[invited.account] = invited.shares;
            emit MemberInvited(invited.account, invited.shares);
        }
    }

    /// @inheritdoc IStewardCooperative
    function join() external beforeMerger {
        uint32 shares = invitation[msg.sender];
        if (shares == 0) revert StewardCooperative_NotInvited(msg.sender);
        // Somebody who came by a merger since has what they came with.
        _requireNewcomer(msg.sender);
        delete invitation[msg.sender];
        _setShares(msg.sender, shares, ++formulaVersion);
    }

    /// @inheritdoc IStewardCooperative
    function leave() external beforeMerger {
        _requireMember(msg.sender);
        _setShares(msg.sender, 0, ++formulaVersion);
    }

    /// @inheritdoc IStewardCooperative
    function setShares(Share[] calldata changes) external onlyByVote beforeMerger {
        uint48 version = ++formulaVersion;
        for (uint256 i; i < changes.length; ++i) {
            _requireMember(changes[i].account);
            _setShares(changes[i].account, changes[i].shares, version);
        }
    }

    /// @inheritdoc IStewardCooperative
    function approveMerger(address other, uint48 version) external onlyByVote beforeMerger {
        _requireCooperative(other);
        // What its members may join by was settled when it merged.
        address into = IStewardCooperative(other).mergedInto();
        if (into != address(0)) revert StewardCooperative_Merged(into);
        approvedMerger[other] = version;
        emit MergerApproved(other, version);
    }

    /// @inheritdoc IStewardCooperative
    function mergeInto(address other) external onlyByVote beforeMerger {
        _requireCooperative(other);
        address beyond = IStewardCooperative(other).mergedInto();
        if (beyond != address(0)) revert StewardCooperative_Merged(beyond);
        uint48 version = formulaVersion;
        if (IStewardCooperative(other).approvedMerger(address(this)) != version) {
            revert StewardCooperative_MergerNotApproved(other, version);
        }
        mergedInto = other;
        emit MergedInto(other, version);
    }

    /// @inheritdoc IStewardCooperative
    function joinByMerger(address other) external beforeMerger {
        uint48 version = approvedMerger[other];
        if (version == 0 || IStewardCooperative(other).mergedInto() != address(this)) {
            revert StewardCooperative_NotMergedHere(other);
        }
        if (_joinedFrom[other][msg.sender]) revert StewardCooperative_AlreadyJoined(other, msg.sender);
        uint32 shares = uint32(IStewardCooperative(other).sharesAt(msg.sender, version));
        if (shares == 0) revert StewardCooperative_NotMember(msg.sender);
        _joinedFrom[other][msg.sender] = true;
        _setShares(msg.sender, uint32(_shares[msg.sender].latest()) + shares, ++formulaVersion);
    }

    /// @inheritdoc IStewardCooperative
    function sharesAt(address account, uint48 version) public view returns (uint256) {
        return _shares[account].upperLookup(version);
    }

    /// @inheritdoc IStewardCooperative
    function totalSharesAt(uint48 version) public view returns (uint256) {
        return _totalShares.upperLookup(version);
    }

    /// @inheritdoc IStewardCooperative
    function memberCountAt(uint48 version) public view returns (uint256) {
        return _memberCount.upperLookup(version);
    }

    /// @inheritdoc IStewardCooperative
    function isMember(address account) public view returns (bool) {
        return _shares[account].latest() != 0;
    }

    function _requireMember(address account) internal view {
        if (!isMember(account)) revert StewardCooperative_NotMember(account);
    }

    /// @dev The one place where shares change; several changes of one call are one version.
    function _setShares(address account, uint32 shares, uint48 version) private {
        uint208 before = _shares[account].latest();
        _shares[account].push(version, shares);
        _totalShares.push(version, _totalShares.latest() - before + shares);
        uint208 count = _memberCount.latest();
        if (before == 0 && shares != 0) _memberCount.push(version, count + 1);
        if (before != 0 && shares == 0) _memberCount.push(version, count - 1);
        emit SharesSet(account, shares, version);
    }

    function _requireNewcomer(address account) private view {
        if (account == address(0) || account == address(this)) revert StewardCooperative_BadMember(account);
        if (isMember(account)) revert StewardCooperative_MemberAlready(account);
    }

    /// @dev The same code with the same neighbors: what it says about its members, it keeps.
    function _requireCooperative(address other) private view {
        if (other == address(this) || other.codehash != address(this).codehash) {
            revert StewardCooperative_NotACooperative(other);
        }
    }
}
