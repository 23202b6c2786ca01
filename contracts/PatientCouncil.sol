// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICouncilSeat} from "./interfaces/ICouncilSeat.sol";
import {IPatientCouncil} from "./interfaces/IPatientCouncil.sol";
import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title PatientCouncil
/// @notice A Governor over seats, with fixed rules. Rules and guarantees: {IPatientCouncil}.
contract PatientCouncil is IPatientCouncil, GovernorCountingSimple, GovernorVotes, GovernorTimelockControl {
    uint256 private constant MOST_VOTING_SECONDS = 90 days;
    uint256 private constant LEAST_QUORUM_PERCENT = 20;
    uint256 private constant MOST_QUORUM_PERCENT = 75;

    /// @inheritdoc IPatientCouncil
    uint256 public constant graceSeconds = 30 days;
    /// @inheritdoc IPatientCouncil
    uint8 public immutable quorumPercent;
    uint48 private immutable _votingDelaySeconds;
    uint32 private immutable _votingPeriodSeconds;

    constructor(address seats_, address payable timelock_, Settings memory settings)
        Governor("Usufruct Patient Council")
        GovernorVotes(IVotes(seats_))
        GovernorTimelockControl(TimelockController(timelock_))
    {
        if (seats_ == address(0)) revert PatientCouncil_ZeroAddress("seats");
        if (timelock_ == address(0)) revert PatientCouncil_ZeroAddress("timelock");
        if (
            settings.votingPeriodSeconds == 0 || settings.votingPeriodSeconds > MOST_VOTING_SECONDS
                || settings.votingDelaySeconds > MOST_VOTING_SECONDS
        ) revert PatientCouncil_BadVotingTimes(settings.votingDelaySeconds, settings.votingPeriodSeconds);
        if (settings.quorumPercent < LEAST_QUORUM_PERCENT || settings.quorumPercent > MOST_QUORUM_PERCENT) {
            revert PatientCouncil_BadQuorum(settings.quorumPercent);
        }
        address found = ICouncilSeat(seats_).timelock();
        if (found != timelock_) revert PatientCouncil_Miswired("seats.timelock", found, timelock_);
        quorumPercent = settings.quorumPercent;
        _votingDelaySeconds = settings.votingDelaySeconds;
        _votingPeriodSeconds = settings.votingPeriodSeconds;
    }

    /// @inheritdoc Governor
    function execute(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) public payable override returns (uint256) {
        if (msg.value != 0) revert PatientCouncil_EtherRefused();
        return super.execute(targets, values, calldatas, descriptionHash);
    }

    /// @notice Refused: the council acts through its timelock, and owns nothing itself.
    function relay(address, uint256, bytes calldata) external payable override {
        revert PatientCouncil_Fixed();
    }

    /// @notice Refused: seats and powers belong to the timelock that there is.
    function updateTimelock(TimelockController) external pure override {
        revert PatientCouncil_Fixed();
    }

    /// @inheritdoc IPatientCouncil
    function seats() external view returns (address) {
        return address(token());
    }

    /// @inheritdoc Governor
    function state(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (ProposalState current)
    {
        current = super.state(proposalId);
        if (current == ProposalState.Succeeded) {
            if (block.timestamp > proposalDeadline(proposalId) + graceSeconds) return ProposalState.Expired;
        } else if (current == ProposalState.Queued) {
            if (block.timestamp > proposalEta(proposalId) + graceSeconds) return ProposalState.Expired;
        }
    }

    /// @inheritdoc Governor
    function quorum(uint256 timepoint) public view override returns (uint256) {
        return Math.mulDiv(token().getPastTotalSupply(timepoint), quorumPercent, 100, Math.Rounding.Ceil);
    }

    /// @inheritdoc Governor
    function votingDelay() public view override returns (uint256) {
        return _votingDelaySeconds;
    }

    /// @inheritdoc Governor
    function votingPeriod() public view override returns (uint256) {
        return _votingPeriodSeconds;
    }

    /// @inheritdoc Governor
    function proposalThreshold() public pure override returns (uint256) {
        return 1;
    }

    /// @inheritdoc Governor
    function proposalNeedsQueuing(uint256) public pure override(Governor, GovernorTimelockControl) returns (bool) {
        return true;
    }

    /// @dev What sends ether could pass a vote and never be executed.
    function _propose(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer
    ) internal override returns (uint256) {
        for (uint256 i; i < values.length; ++i) {
            if (values[i] != 0) revert PatientCouncil_EtherRefused();
        }
        return super._propose(targets, values, calldatas, description, proposer);
    }

    function _queueOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return GovernorTimelockControl._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        GovernorTimelockControl._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return GovernorTimelockControl._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return GovernorTimelockControl._executor();
    }
}
