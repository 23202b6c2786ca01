// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICouncilTimelock} from "./interfaces/ICouncilTimelock.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title CouncilTimelock
/// @notice Holds the council's powers, and its patience. Rules and guarantees: {ICouncilTimelock}.
contract CouncilTimelock is ICouncilTimelock, TimelockController {
    uint256 private constant MOST_DELAY_SECONDS = 90 days;

    /// @inheritdoc ICouncilTimelock
    uint256 public immutable leastDelaySeconds;
    uint256 private _delaySeconds;

    /// @param council The PatientCouncil that will be deployed next but one.
    constructor(uint256 delaySeconds, address council)
        TimelockController(delaySeconds, _only(council), _only(council), address(0))
    {
        if (council == address(0)) revert CouncilTimelock_ZeroAddress("council");
        if (delaySeconds == 0 || delaySeconds > MOST_DELAY_SECONDS) {
            revert CouncilTimelock_BadDelay(delaySeconds, 1, MOST_DELAY_SECONDS);
        }
        leastDelaySeconds = delaySeconds;
        _delaySeconds = delaySeconds;
        _revokeRole(CANCELLER_ROLE, council);
    }

    receive() external payable override {
        revert CouncilTimelock_EtherRefused();
    }

    /// @inheritdoc TimelockController
    function execute(address target, uint256 value, bytes calldata payload, bytes32 predecessor, bytes32 salt)
        public
        payable
        override
    {
        _refuseEther();
        super.execute(target, value, payload, predecessor, salt);
    }

    /// @inheritdoc TimelockController
    function executeBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt
    ) public payable override {
        _refuseEther();
        super.executeBatch(targets, values, payloads, predecessor, salt);
    }

    /// @notice Refused to everybody, whatever roles are granted.
    function cancel(bytes32 id) public pure override {
        revert CouncilTimelock_NothingIsCanceled(id);
    }

    /// @inheritdoc TimelockController
    function updateDelay(uint256 newDelay) external override {
        if (msg.sender != address(this)) revert TimelockUnauthorizedCaller(msg.sender);
        if (newDelay < leastDelaySeconds || newDelay > MOST_DELAY_SECONDS) {
            revert CouncilTimelock_BadDelay(newDelay, leastDelaySeconds, MOST_DELAY_SECONDS);
        }
        emit MinDelayChange(_delaySeconds, newDelay);
        _delaySeconds = newDelay;
    }

    /// @inheritdoc TimelockController
    function getMinDelay() public view override returns (uint256) {
        return _delaySeconds;
    }

    function _refuseEther() private view {
        if (msg.value != 0) revert CouncilTimelock_EtherRefused();
    }

    function _only(address account) private pure returns (address[] memory accounts) {
        accounts = new address[](1);
        accounts[0] = account;
    }
}
