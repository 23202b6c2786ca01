// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {OracleCommittee} from "contracts/OracleCommittee.sol";

contract ThresholdProof {
    OracleCommittee private _committee;

    function setUp() public {
        address[] memory signers = new address[](4);
        for (uint160 i; i < 4; ++i) {
            signers[i] = address(i + 1);
        }
        _committee = new OracleCommittee(address(1), address(2), address(3), signers);
    }

    /// Two quorums share an honest signer, and the honest ones are a quorum.
    function check_inv_23_quorums_overlap_in_honest_signers(uint8 count) external view {
        if (count < 4) return;
        uint256 faulty = (uint256(count) - 1) / 3;
        uint256 threshold = _committee.threshold(count);
        assert(2 * threshold > uint256(count) + faulty);
        assert(threshold <= uint256(count) - faulty);
        assert(threshold > faulty);
    }
}
