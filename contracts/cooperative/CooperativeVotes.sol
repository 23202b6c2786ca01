// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IStewardCooperative} from "../interfaces/IStewardCooperative.sol";
import {CooperativeMembers} from "./CooperativeMembers.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// @title One member, one vote, on calls of the cooperative to itself
/// @notice Rules and guarantees: {IStewardCooperative}.
abstract contract CooperativeVotes is CooperativeMembers {
    uint256 private constant LAPSES_AFTER_SECONDS = 30 days;
    uint256 private constant MOST_VOTING_SECONDS = 90 days;

    Rules private _rules;
    Ballot[] private _ballots;
    /// @inheritdoc IStewardCooperative
    mapping(uint256 ballotId => mapping(address member => bool)) public hasVoted;

    constructor(Rules memory rules_) {
        if (
            rules_.votingPeriodSeconds == 0 || rules_.votingPeriodSeconds > MOST_VOTING_SECONDS
                || rules_.quorumPercent == 0 || rules_.quorumPercent > 100
        ) revert StewardCooperative_BadRules(rules_.votingPeriodSeconds, rules_.quorumPercent);
        _rules = rules_;
    }

    /// @inheritdoc IStewardCooperative
    function propose(bytes calldata call) external returns (uint256 ballotId) {
        _requireMember(msg.sender);
        ballotId = _ballots.length;
        uint48 closesAt = uint48(block.timestamp + _rules.votingPeriodSeconds);
        _ballots.push(
            Ballot({
                callHash: keccak256(call),
                version: formulaVersion,
                closesAt: closesAt,
                yes: 0,
                no: 0,
                executed: false
            })
        );
        emit BallotOpened(ballotId, msg.sender, formulaVersion, closesAt, call);
    }

    /// @inheritdoc IStewardCooperative
    function vote(uint256 ballotId, bool support) external {
        Ballot storage found = _existing(ballotId);
        if (block.timestamp >= found.closesAt || found.executed) revert StewardCooperative_BallotClosed(ballotId);
        // A member who left, or who came back since under another name, decides nothing here.
        _requireMember(msg.sender);
        if (sharesAt(msg.sender, found.version) == 0) revert StewardCooperative_NotMember(msg.sender);
        if (hasVoted[ballotId][msg.sender]) revert StewardCooperative_AlreadyVoted(ballotId, msg.sender);
        hasVoted[ballotId][msg.sender] = true;
        if (support) ++found.yes;
        else ++found.no;
        emit VoteCast(ballotId, msg.sender, support);
    }

    /// @inheritdoc IStewardCooperative
    function execute(uint256 ballotId, bytes calldata call) external {
        Ballot storage found = _existing(ballotId);
        if (found.executed) revert StewardCooperative_BallotExecuted(ballotId);
        if (keccak256(call) != found.callHash) revert StewardCooperative_WrongCall(ballotId);
        if (!_hasPassed(found)) revert StewardCooperative_NotPassed(ballotId);
        if (block.timestamp > found.closesAt + LAPSES_AFTER_SECONDS) {
            revert StewardCooperative_BallotLapsed(ballotId);
        }
        found.executed = true;
        emit BallotExecuted(ballotId);
        Address.functionCall(address(this), call);
    }

    /// @inheritdoc IStewardCooperative
    function rules() external view returns (Rules memory) {
        return _rules;
    }

    /// @inheritdoc IStewardCooperative
    function ballot(uint256 ballotId) external view returns (Ballot memory) {
        return _existing(ballotId);
    }

    function _existing(uint256 ballotId) private view returns (Ballot storage found) {
        if (ballotId >= _ballots.length) revert StewardCooperative_UnknownBallot(ballotId);
        return _ballots[ballotId];
    }

    function _hasPassed(Ballot storage found) private view returns (bool) {
        uint256 members = memberCountAt(found.version);
        uint256 yes = found.yes;
        if (2 * yes > members) return true;
        if (block.timestamp < found.closesAt) return false;
        return yes > found.no && 100 * (yes + found.no) >= members * _rules.quorumPercent;
    }
}
