// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title A token whose transfers return nothing
/// @notice As the most used dollar token does: success is the absence of a revert. It is written out because the
/// standard interface, which returns a bool, cannot be inherited here. Test only.
contract NoReturnToken {
    uint8 public constant decimals = 6;
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    mapping(address account => bool) public isRefused;

    error NoReturnToken_InsufficientBalance(address from, uint256 balance, uint256 value);
    error NoReturnToken_InsufficientAllowance(address spender, uint256 allowance, uint256 value);
    error NoReturnToken_Refused(address to);

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function setRefused(address account, bool refused) external {
        isRefused[account] = refused;
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed < value) revert NoReturnToken_InsufficientAllowance(msg.sender, allowed, value);
        allowance[from][msg.sender] = allowed - value;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private {
        if (isRefused[to]) revert NoReturnToken_Refused(to);
        uint256 balance = balanceOf[from];
        if (balance < value) revert NoReturnToken_InsufficientBalance(from, balance, value);
        balanceOf[from] = balance - value;
        balanceOf[to] += value;
    }
}
