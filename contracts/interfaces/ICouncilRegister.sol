// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Whose interests are declared, who audits, and what auditors found
/// @notice Documents by hash: a declaration of interests by whoever it is about (a steward, the holder of a seat), the
/// auditors the council appointed, and findings that they signed. Nothing here decides anything by itself.
///
/// Safety: only an account declares for itself; only its own signature makes a finding an auditor's; what was declared
/// or published stays in the log.
/// Liveness: a finding needs its auditor in office when it is published, and anyone to publish it.
interface ICouncilRegister {
    /// @param number 1, 2, 3 … of this account; 0 if it never declared.
    struct Declaration {
        bytes32 declarationHash;
        uint48 declaredAt;
        uint32 number;
    }

    /// @param termEndsAt First moment out of office, in seconds; 0 for who is not an auditor.
    struct Auditor {
        uint48 appointedAt;
        uint48 termEndsAt;
        bytes32 mandateHash;
    }

    /// @notice What an auditor signs (EIP-712, domain "Usufruct Register").
    /// @param subject What was audited: a report hash, a license's offer hash, a document hash.
    /// @param findingHash Hash of the finding's text.
    /// @param foundAt When, in seconds, by the auditor's word.
    struct AuditFinding {
        address auditor;
        bytes32 subject;
        bytes32 findingHash;
        uint64 foundAt;
    }

    event InterestsDeclared(address indexed account, uint32 number, bytes32 declarationHash);
    event AuditorAppointed(address indexed auditor, uint48 termEndsAt, bytes32 mandateHash);
    event AuditorRemoved(address indexed auditor, address by, bytes32 reasonHash);
    event FindingPublished(
        address indexed auditor, bytes32 indexed subject, bytes32 indexed findingHash, uint64 foundAt, bytes32 digest
    );

    error CouncilRegister_ZeroAddress(string what);
    error CouncilRegister_ZeroHash(string what);
    error CouncilRegister_BadTerm(uint48 termEndsAt, uint256 nowSeconds);
    error CouncilRegister_NotAuditor(address account);
    error CouncilRegister_BadFindingSignature(address auditor, bytes32 digest);
    error CouncilRegister_FindingPublished(bytes32 digest);

    /// @notice Declare the caller's own interests, by the hash of the document. The newest one counts.
    function declareInterests(bytes32 declarationHash) external;

    /// @notice Council: appoint an auditor, or give one another term.
    function appointAuditor(address auditor, uint48 termEndsAt, bytes32 mandateHash) external;

    /// @notice Council: remove an auditor before the term ends.
    function removeAuditor(address auditor, bytes32 reasonHash) external;

    /// @notice An auditor steps down.
    function resign(bytes32 reasonHash) external;

    /// @notice Publish a finding that its auditor has signed (ECDSA or ERC-1271). Anyone may, once.
    function publishFinding(AuditFinding calldata finding, bytes calldata signature) external;

    function declaration(address account) external view returns (Declaration memory);
    function auditor(address account) external view returns (Auditor memory);
    /// @notice Whether an account is an auditor in office now.
    function isAuditor(address account) external view returns (bool);
    /// @notice Block time at which a finding was published, by its digest; 0 if it was not.
    function findingPublishedAt(bytes32 digest) external view returns (uint48);
    function hashFinding(AuditFinding calldata finding) external view returns (bytes32 digest);
}
