// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title A stand-in for USDC on dev chains
/// @notice It has what the contracts rely on (6 decimals, EIP-2612, EIP-3009) and what they must survive (a blocklist
/// and a pause). Anyone may mint, block and pause: never deploy it where money is real.
contract TestUSDC is ERC20, EIP712, Nonces {
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 public constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant CANCEL_AUTHORIZATION_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    /// @notice Whether an EIP-3009 nonce was used or canceled.
    mapping(address authorizer => mapping(bytes32 nonce => bool used)) public authorizationState;
    mapping(address account => bool) public isBlocked;
    bool public paused;

    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    event BlockedSet(address indexed account, bool blocked);
    event PausedSet(bool paused);

    error TestUSDC_Paused();
    error TestUSDC_Blocked(address account);
    error TestUSDC_PermitExpired(uint256 deadline, uint256 nowSeconds);
    error TestUSDC_WrongSigner(address expected, address recovered);
    error TestUSDC_CallerNotPayee(address caller, address payee);
    error TestUSDC_AuthorizationNotYetValid(uint256 validAfter, uint256 nowSeconds);
    error TestUSDC_AuthorizationExpired(uint256 validBefore, uint256 nowSeconds);
    error TestUSDC_AuthorizationUsed(address authorizer, bytes32 nonce);

    constructor() ERC20("USD Coin", "USDC") EIP712("USD Coin", "2") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBlocked(address account, bool blocked) external {
        isBlocked[account] = blocked;
        emit BlockedSet(account, blocked);
    }

    function setPaused(bool paused_) external {
        paused = paused_;
        emit PausedSet(paused_);
    }

    /// @notice EIP-2612.
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        if (block.timestamp > deadline) revert TestUSDC_PermitExpired(deadline, block.timestamp);
        _requireSigner(
            owner, keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, _useNonce(owner), deadline)), v, r, s
        );
        _approve(owner, spender, value);
    }

    /// @notice EIP-3009: anyone may carry it, to whoever it names.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _useAuthorization(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce, v, r, s);
    }

    /// @notice EIP-3009: only the payee may carry it, so nobody can move the money outside of the payee's own call.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (msg.sender != to) revert TestUSDC_CallerNotPayee(msg.sender, to);
        _useAuthorization(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce, v, r, s);
    }

    /// @notice EIP-3009: make an authorization that was not used yet useless.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        if (authorizationState[authorizer][nonce]) revert TestUSDC_AuthorizationUsed(authorizer, nonce);
        _requireSigner(authorizer, keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce)), v, r, s);
        authorizationState[authorizer][nonce] = true;
        emit AuthorizationCanceled(authorizer, nonce);
    }

    // The EIP's name, not ours.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    function version() external pure returns (string memory) {
        return "2";
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _useAuthorization(
        bytes32 typeHash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private {
        if (block.timestamp <= validAfter) revert TestUSDC_AuthorizationNotYetValid(validAfter, block.timestamp);
        if (block.timestamp >= validBefore) revert TestUSDC_AuthorizationExpired(validBefore, block.timestamp);
        if (authorizationState[from][nonce]) revert TestUSDC_AuthorizationUsed(from, nonce);
        _requireSigner(from, keccak256(abi.encode(typeHash, from, to, value, validAfter, validBefore, nonce)), v, r, s);
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    function _requireSigner(address expected, bytes32 structHash, uint8 v, bytes32 r, bytes32 s) private view {
        address recovered = ECDSA.recover(_hashTypedDataV4(structHash), v, r, s);
        if (recovered != expected) revert TestUSDC_WrongSigner(expected, recovered);
    }

    /// @dev As the real token: a pause stops every movement, a blocked account can be neither side nor the caller.
    function _update(address from, address to, uint256 value) internal override {
        if (paused) revert TestUSDC_Paused();
        if (isBlocked[msg.sender]) revert TestUSDC_Blocked(msg.sender);
        if (isBlocked[from]) revert TestUSDC_Blocked(from);
        if (isBlocked[to]) revert TestUSDC_Blocked(to);
        super._update(from, to, value);
    }
}
