// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title A wallet that is a contract
/// @notice It signs by ERC-1271 through its owner's key, and its owner can call anything with it. Test only.
contract ContractWallet is IERC1271 {
    address public immutable owner;
    /// @notice When set, every signature is refused: what a payee does who revokes its key.
    bool public locked;

    error ContractWallet_NotOwner(address caller);

    constructor(address owner_) {
        owner = owner_;
    }

    function setLocked(bool locked_) external {
        if (msg.sender != owner) revert ContractWallet_NotOwner(msg.sender);
        locked = locked_;
    }

    function act(address target, bytes calldata data) external returns (bytes memory answer) {
        if (msg.sender != owner) revert ContractWallet_NotOwner(msg.sender);
        bool success;
        (success, answer) = target.call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, signature);
        bool valid = !locked && failure == ECDSA.RecoverError.NoError && recovered == owner;
        return valid ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}
