// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IOracleCommittee} from "../interfaces/IOracleCommittee.sol";

/// @title A table of addresses kept as contract code
/// @notice Reading n addresses costs one account access instead of n storage slots. The code starts with STOP, so
/// nobody can call it into doing anything; then 20 bytes per address.
library SignerTable {
    function store(address[] memory signers) internal returns (address table) {
        bytes memory packed = new bytes(20 * signers.length);
        for (uint256 i; i < signers.length; ++i) {
            address signer = signers[i];
            assembly ("memory-safe") {
                mstore(add(add(packed, 32), mul(i, 20)), shl(96, signer))
            }
        }
        // PUSH2 size, DUP1, PUSH1 10, RETURNDATASIZE (0), CODECOPY, RETURNDATASIZE, RETURN; then what it returns.
        bytes memory initCode =
            abi.encodePacked(hex"61", uint16(packed.length + 1), hex"80600a3d393df3", hex"00", packed);
        assembly ("memory-safe") {
            table := create(0, add(initCode, 32), mload(initCode))
        }
        if (table == address(0)) revert IOracleCommittee.OracleCommittee_TableNotStored();
    }

    /// @return signers The packed addresses, for `count` and `at`.
    function load(address table) internal view returns (bytes memory signers) {
        assembly ("memory-safe") {
            let size := sub(extcodesize(table), 1)
            signers := mload(0x40)
            mstore(0x40, and(add(add(signers, size), 63), not(31)))
            mstore(signers, size)
            extcodecopy(table, add(signers, 32), 1, size)
        }
    }

    function count(bytes memory signers) internal pure returns (uint256) {
        return signers.length / 20;
    }

    /// @dev The caller checks the index.
    function at(bytes memory signers, uint256 index) internal pure returns (address signer) {
        assembly ("memory-safe") {
            signer := shr(96, mload(add(add(signers, 32), mul(index, 20))))
        }
    }
}
