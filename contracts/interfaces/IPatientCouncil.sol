// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title The patient council
/// @notice An OpenZeppelin Governor: seats propose, vote for, against or abstain, and what passes acts through the
/// timelock, which holds the council's powers. A proposal passes when more seats are for it than against, and those for
/// it and abstaining reach the quorum: a percentage of all seats there were when the vote opened, rounded up.
///
/// Safety: one seat counts once, by who sat when the vote opened; nothing acts without vote and delay; nothing that was
/// passed and left lying acts a month later. The rules of voting are fixed: a council that wants others votes another
/// council into the timelock's roles. Ether is refused.
/// Liveness: needs a quorum of seats. Anyone may queue and execute what has passed.
interface IPatientCouncil {
    /// @param votingDelaySeconds From proposal to the opening of the vote.
    /// @param votingPeriodSeconds How long the vote is open.
    /// @param quorumPercent 20 … 75.
    struct Settings {
        uint48 votingDelaySeconds;
        uint32 votingPeriodSeconds;
        uint8 quorumPercent;
    }

    error PatientCouncil_ZeroAddress(string what);
    error PatientCouncil_Miswired(string what, address found, address expected);
    error PatientCouncil_BadVotingTimes(uint48 votingDelaySeconds, uint32 votingPeriodSeconds);
    error PatientCouncil_BadQuorum(uint8 quorumPercent);
    error PatientCouncil_EtherRefused();
    /// @notice The Governor's way to act itself, or to change its timelock, which nobody has here.
    error PatientCouncil_Fixed();

    function seats() external view returns (address);
    function quorumPercent() external view returns (uint8);
    /// @notice Seconds after which a proposal that could have been queued, or executed, no longer can.
    function graceSeconds() external view returns (uint256);
}
