// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {LaneTree} from "./libraries/LaneTree.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title CreditLedger
/// @notice Programs, grants and redemptions are counted from 1. Rules and guarantees: {ICreditLedger}.
contract CreditLedger is ICreditLedger, EIP712 {
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "RedemptionReceipt(uint64 redemptionId,uint64 grantId,address holder,uint96 amount,bytes32 requestHash,bytes32 documentHash)"
    );

    /// @inheritdoc ICreditLedger
    address public immutable registry;
    /// @inheritdoc ICreditLedger
    uint64 public programCount;
    /// @inheritdoc ICreditLedger
    uint64 public grantCount;
    /// @inheritdoc ICreditLedger
    uint64 public redemptionCount;

    mapping(uint64 programId => Program) private _programs;
    mapping(uint64 grantId => Grant) private _grants;
    mapping(uint64 redemptionId => Redemption) private _redemptions;
    /// @inheritdoc ICreditLedger
    mapping(uint64 grantId => mapping(uint32 index => uint96)) public redeemedOf;

    constructor(address registry_) EIP712("Usufruct Credits", "1") {
        if (registry_ == address(0)) revert CreditLedger_ZeroAddress("registry");
        registry = registry_;
    }

    /// @inheritdoc ICreditLedger
    function openProgram(uint32 licenseId, uint96 fairValue, uint48 expiresAt, bytes32 documentHash)
        external
        returns (uint64 programId)
    {
        _requireBuyer(licenseId);
        if (fairValue == 0) revert CreditLedger_ZeroFairValue();
        if (expiresAt <= block.timestamp) revert CreditLedger_BadExpiry(expiresAt, block.timestamp);
        programId = ++programCount;
        _programs[programId] = Program(licenseId, fairValue, expiresAt, documentHash);
        emit ProgramOpened(programId, licenseId, fairValue, expiresAt, documentHash);
    }

    /// @inheritdoc ICreditLedger
    function grant(uint64 programId, bytes32 root, uint32 count, uint96 total) external returns (uint64 grantId) {
        Program memory found = program(programId);
        _requireBuyer(found.licenseId);
        _requireRunning(programId, found);
        if (root == 0 || count == 0 || total == 0) revert CreditLedger_EmptyGrant(root, count, total);
        grantId = ++grantCount;
        _grants[grantId] = Grant(programId, root, count, total, 0);
        emit CreditsGranted(grantId, programId, root, count, total);
    }

    /// @inheritdoc ICreditLedger
    function redeem(
        uint64 grantId,
        uint32 index,
        uint96 granted,
        bytes32 salt,
        bytes32[] calldata proof,
        uint96 amount,
        bytes32 requestHash
    ) external returns (uint64 redemptionId) {
        if (amount == 0) revert CreditLedger_ZeroAmount();
        Grant memory found = grantOf(grantId);
        _requireRunning(found.programId, _programs[found.programId]);
        // 65 bytes, so no node of the tree, which hashes 64, passes for a leaf.
        bytes32 leaf = keccak256(abi.encodePacked(hex"08", msg.sender, granted, salt));
        LaneTree.requireLeaf(found.root, found.count, index, leaf, proof);
        _burn(grantId, found, index, granted, amount);
        redemptionId = ++redemptionCount;
        _redemptions[redemptionId] = Redemption(grantId, msg.sender, amount, requestHash, false);
        emit CreditsRedeemed(redemptionId, grantId, msg.sender, index, amount, requestHash);
    }

    /// @inheritdoc ICreditLedger
    function confirm(uint64 redemptionId, bytes32 documentHash, bytes calldata signature) external {
        Redemption memory found = redemption(redemptionId);
        if (found.confirmed) revert CreditLedger_AlreadyConfirmed(redemptionId);
        uint32 licenseId = _programs[_grants[found.grantId].programId].licenseId;
        address buyer = ILicenseRegistry(registry).license(licenseId).buyer;
        if (msg.sender != buyer) {
            bytes32 digest = hashReceipt(redemptionId, documentHash);
            if (!SignatureChecker.isValidSignatureNow(buyer, digest, signature)) {
                revert CreditLedger_BadReceipt(buyer, digest);
            }
        }
        _redemptions[redemptionId].confirmed = true;
        emit RedemptionConfirmed(redemptionId, documentHash);
    }

    /// @inheritdoc ICreditLedger
    function program(uint64 programId) public view returns (Program memory found) {
        found = _programs[programId];
        if (found.licenseId == 0) revert CreditLedger_UnknownProgram(programId);
    }

    /// @inheritdoc ICreditLedger
    function grantOf(uint64 grantId) public view returns (Grant memory found) {
        found = _grants[grantId];
        if (found.count == 0) revert CreditLedger_UnknownGrant(grantId);
    }

    /// @inheritdoc ICreditLedger
    function redemption(uint64 redemptionId) public view returns (Redemption memory found) {
        found = _redemptions[redemptionId];
        if (found.amount == 0) revert CreditLedger_UnknownRedemption(redemptionId);
    }

    /// @inheritdoc ICreditLedger
    function hashReceipt(uint64 redemptionId, bytes32 documentHash) public view returns (bytes32 digest) {
        Redemption memory found = redemption(redemptionId);
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    RECEIPT_TYPEHASH,
                    redemptionId,
                    found.grantId,
                    found.holder,
                    found.amount,
                    found.requestHash,
                    documentHash
                )
            )
        );
    }

    /// @dev A leaf is spent up to its amount, and all leaves together up to the grant's total: a root over more than it
    /// says buys nothing more.
    function _burn(uint64 grantId, Grant memory found, uint32 index, uint96 granted, uint96 amount) private {
        uint256 redeemed = uint256(redeemedOf[grantId][index]) + amount;
        if (redeemed > granted) revert CreditLedger_OverGranted(grantId, index, redeemed, granted);
        uint256 redeemedInAll = uint256(found.redeemed) + amount;
        if (redeemedInAll > found.total) revert CreditLedger_OverTotal(grantId, redeemedInAll, found.total);
        redeemedOf[grantId][index] = uint96(redeemed);
        _grants[grantId].redeemed = uint96(redeemedInAll);
    }

    /// @dev Reverts for a license that does not exist.
    function _requireBuyer(uint32 licenseId) private view {
        address buyer = ILicenseRegistry(registry).license(licenseId).buyer;
        if (msg.sender != buyer) revert CreditLedger_NotBuyer(licenseId, msg.sender);
    }

    function _requireRunning(uint64 programId, Program memory found) private view {
        if (block.timestamp >= found.expiresAt) revert CreditLedger_Expired(programId, found.expiresAt);
    }
}
