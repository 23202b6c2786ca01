// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICouncilRegister} from "./interfaces/ICouncilRegister.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title CouncilRegister
/// @notice A record, without power over anything. Rules and guarantees: {ICouncilRegister}.
contract CouncilRegister is ICouncilRegister, AccessManaged, EIP712 {
    bytes32 private constant FINDING_TYPEHASH =
        keccak256("AuditFinding(address auditor,bytes32 subject,bytes32 findingHash,uint64 foundAt)");

    mapping(address account => Declaration) private _declarations;
    mapping(address account => Auditor) private _auditors;
    /// @inheritdoc ICouncilRegister
    mapping(bytes32 digest => uint48) public findingPublishedAt;

    constructor(address authority) AccessManaged(authority) EIP712("Usufruct Register", "1") {
        if (authority == address(0)) revert CouncilRegister_ZeroAddress("authority");
    }

    /// @inheritdoc ICouncilRegister
    function declareInterests(bytes32 declarationHash) external {
        if (declarationHash == 0) revert CouncilRegister_ZeroHash("declaration");
        uint32 number = _declarations[msg.sender].number + 1;
        _declarations[msg.sender] =
            Declaration({declarationHash: declarationHash, declaredAt: uint48(block.timestamp), number: number});
        emit InterestsDeclared(msg.sender, number, declarationHash);
    }

    /// @inheritdoc ICouncilRegister
    function appointAuditor(address auditor_, uint48 termEndsAt, bytes32 mandateHash) external restricted {
        if (auditor_ == address(0)) revert CouncilRegister_ZeroAddress("auditor");
        if (mandateHash == 0) revert CouncilRegister_ZeroHash("mandate");
        if (termEndsAt <= block.timestamp) revert CouncilRegister_BadTerm(termEndsAt, block.timestamp);
        _auditors[auditor_] =
            Auditor({appointedAt: uint48(block.timestamp), termEndsAt: termEndsAt, mandateHash: mandateHash});
        emit AuditorAppointed(auditor_, termEndsAt, mandateHash);
    }

    /// @inheritdoc ICouncilRegister
    function removeAuditor(address auditor_, bytes32 reasonHash) external restricted {
        _remove(auditor_, reasonHash);
    }

    /// @inheritdoc ICouncilRegister
    function resign(bytes32 reasonHash) external {
        _remove(msg.sender, reasonHash);
    }

    /// @inheritdoc ICouncilRegister
    function publishFinding(AuditFinding calldata finding, bytes calldata signature) external {
        if (!isAuditor(finding.auditor)) revert CouncilRegister_NotAuditor(finding.auditor);
        if (finding.findingHash == 0) revert CouncilRegister_ZeroHash("finding");
        bytes32 digest = hashFinding(finding);
        if (findingPublishedAt[digest] != 0) revert CouncilRegister_FindingPublished(digest);
        if (!SignatureChecker.isValidSignatureNow(finding.auditor, digest, signature)) {
            revert CouncilRegister_BadFindingSignature(finding.auditor, digest);
        }
        findingPublishedAt[digest] = uint48(block.timestamp);
        emit FindingPublished(finding.auditor, finding.subject, finding.findingHash, finding.foundAt, digest);
    }

    /// @inheritdoc ICouncilRegister
    function declaration(address account) external view returns (Declaration memory) {
        return _declarations[account];
    }

    /// @inheritdoc ICouncilRegister
    function auditor(address account) external view returns (Auditor memory) {
        return _auditors[account];
    }

    /// @inheritdoc ICouncilRegister
    function isAuditor(address account) public view returns (bool) {
        return block.timestamp < _auditors[account].termEndsAt;
    }

    /// @inheritdoc ICouncilRegister
    function hashFinding(AuditFinding calldata finding) public view returns (bytes32 digest) {
        return _hashTypedDataV4(keccak256(abi.encode(FINDING_TYPEHASH, finding)));
    }

    function _remove(address auditor_, bytes32 reasonHash) private {
        if (!isAuditor(auditor_)) revert CouncilRegister_NotAuditor(auditor_);
        delete _auditors[auditor_];
        emit AuditorRemoved(auditor_, msg.sender, reasonHash);
    }
}
