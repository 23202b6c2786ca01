// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IOperatorBonds} from "./interfaces/IOperatorBonds.sol";
import {IOracleCommittee} from "./interfaces/IOracleCommittee.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {SignerTable} from "./libraries/SignerTable.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title OracleCommittee
/// @notice Membership by version, and the one check of a quorum. Rules and guarantees: {IOracleCommittee}.
contract OracleCommittee is IOracleCommittee, AccessManaged {
    using SignerTable for bytes;

    uint256 private constant MIN_SIGNERS = 4;
    /// @dev An index is one byte of a signature.
    uint256 private constant MAX_SIGNERS = 255;
    uint256 private constant MAX_NOTICE_EPOCHS = 366;
    uint256 private constant SIGNATURE_BYTES = 65;
    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @dev Governs fromEpoch <= epoch < untilEpoch; no epoch if a later version replaced it before it began. Those that
    /// were not replaced are a chain: `previous` governs up to fromEpoch. One slot, so that checking a quorum reads one.
    struct Version {
        address table;
        uint32 fromEpoch;
        uint32 untilEpoch;
        uint24 previous;
        bool reserveFirst;
    }

    /// @inheritdoc IOracleCommittee
    address public immutable settlement;
    /// @inheritdoc IOracleCommittee
    address public immutable operatorBonds;
    /// @inheritdoc IOracleCommittee
    uint32 public latestVersion;

    mapping(uint32 version => Version) private _versions;

    /// @param initialSigners Version 1, from epoch 1 on.
    constructor(address authority, address settlement_, address operatorBonds_, address[] memory initialSigners)
        AccessManaged(authority)
    {
        if (authority == address(0)) revert OracleCommittee_ZeroAddress("authority");
        if (settlement_ == address(0)) revert OracleCommittee_ZeroAddress("settlement");
        if (operatorBonds_ == address(0)) revert OracleCommittee_ZeroAddress("operatorBonds");
        settlement = settlement_;
        operatorBonds = operatorBonds_;
        _requireTable(initialSigners);
        _addVersion(initialSigners, 1, 0, false);
    }

    /// @inheritdoc IOracleCommittee
    function rotate(address[] calldata signers, uint48 fromEpoch) external restricted returns (uint32 version) {
        // The epoch after the last finalized one is open, and may have a report pending.
        uint48 openEpoch = IUsageSettlement(settlement).state().lastEpoch + 1;
        if (fromEpoch <= openEpoch) revert OracleCommittee_EpochNotInFuture(fromEpoch, openEpoch + 1);
        uint48 lastAllowed = openEpoch + uint48(MAX_NOTICE_EPOCHS);
        if (fromEpoch > lastAllowed) revert OracleCommittee_EpochTooFar(fromEpoch, lastAllowed);
        _requireTable(signers);
        _requireBonds(signers);

        // Epochs of the settlement fit uint32, and rotations are too dear to pass uint24.
        uint24 previous = _closeAt(uint32(fromEpoch));
        return _addVersion(signers, uint32(fromEpoch), previous, _changesTooMany(_baselineOf(previous), signers));
    }

    /// @inheritdoc IOracleCommittee
    function requireQuorum(uint64 epoch, uint32 version, bytes32 digest, bytes calldata signatures) external view {
        Version memory governing = _versions[version];
        _checkQuorum(governing, epoch, version, digest, signatures);
        if (governing.reserveFirst && epoch == governing.fromEpoch) {
            uint64 issued = IUsageSettlement(settlement).reserveIssuedEpoch();
            // This version was announced while an earlier epoch was open: there is one before its first.
            if (issued != epoch - 1) revert OracleCommittee_ReserveNotIssued(epoch - 1);
        }
    }

    /// @inheritdoc IOracleCommittee
    function quorumSigners(uint64 epoch, uint32 version, bytes32 digest, bytes calldata signatures)
        external
        view
        returns (address[] memory signed)
    {
        bytes memory signers = _checkQuorum(_versions[version], epoch, version, digest, signatures);
        signed = new address[](signatures.length / SIGNATURE_BYTES);
        for (uint256 i; i < signed.length; ++i) {
            (uint256 index,,) = _signatureAt(signatures, i);
            signed[i] = signers.at(index);
        }
    }

    /// @inheritdoc IOracleCommittee
    function versionFor(uint64 epoch) public view returns (uint32 version) {
        // Rotations are few and mostly recent ones are asked for.
        version = latestVersion;
        while (version != 0 && epoch < _versions[version].fromEpoch) version = _versions[version].previous;
    }

    /// @inheritdoc IOracleCommittee
    function issuesReserveFirst(uint64 epoch) external view returns (bool) {
        Version memory governing = _versions[versionFor(epoch)];
        return governing.reserveFirst && epoch == governing.fromEpoch;
    }

    /// @inheritdoc IOracleCommittee
    function signersOf(uint32 version) external view returns (address[] memory signers, uint48 fromEpoch) {
        Version memory found = _versions[version];
        if (found.table == address(0)) revert OracleCommittee_UnknownVersion(version);
        bytes memory table = SignerTable.load(found.table);
        signers = new address[](table.count());
        for (uint256 i; i < signers.length; ++i) {
            signers[i] = table.at(i);
        }
        fromEpoch = found.fromEpoch;
    }

    /// @inheritdoc IOracleCommittee
    function threshold(uint256 count) public pure returns (uint256 k) {
        if (count < MIN_SIGNERS) revert OracleCommittee_TooFewSigners(count);
        return (count + _faulty(count)) / 2 + 1;
    }

    function _addVersion(address[] memory signers, uint32 fromEpoch, uint24 previous, bool reserveFirst)
        private
        returns (uint32 version)
    {
        version = ++latestVersion;
        _versions[version] = Version({
            table: SignerTable.store(signers),
            fromEpoch: fromEpoch,
            untilEpoch: type(uint32).max,
            previous: previous,
            reserveFirst: reserveFirst
        });
        emit SignersRotated(version, fromEpoch, signers);
    }

    /// @dev Let no version so far govern `epoch` or a later one: those that would begin there govern nothing.
    /// @return version The one that governs up to it. There is one: `epoch` is at least 2, and version 1 is from 1.
    function _closeAt(uint32 epoch) private returns (uint24 version) {
        version = uint24(latestVersion);
        Version storage found = _versions[version];
        while (found.fromEpoch >= epoch) {
            found.untilEpoch = found.fromEpoch;
            emit VersionReplaced(version);
            version = found.previous;
            found = _versions[version];
        }
        found.untilEpoch = epoch;
    }

    /// @dev The last version up to this one that begins, or began, with everything before it paid out.
    function _baselineOf(uint24 version) private view returns (bytes memory signers) {
        Version memory found = _versions[version];
        while (!found.reserveFirst && found.previous != 0) found = _versions[found.previous];
        return SignerTable.load(found.table);
    }

    /// @dev Whether a table differs from the baseline in more signers than either tolerates faulty. It is compared with
    /// the baseline and not with the version before it: many small steps are as large as one.
    function _changesTooMany(bytes memory baseline, address[] memory signers) private pure returns (bool) {
        uint256 baselineCount = baseline.count();
        uint256 kept;
        uint256 i;
        for (uint256 j; j < signers.length; ++j) {
            // Both ascend.
            while (i < baselineCount && baseline.at(i) < signers[j]) ++i;
            if (i < baselineCount && baseline.at(i) == signers[j]) ++kept;
        }
        uint256 smaller = Math.min(baselineCount, signers.length);
        return Math.max(baselineCount, signers.length) - kept > _faulty(smaller);
    }

    function _requireTable(address[] memory signers) private pure {
        if (signers.length < MIN_SIGNERS) revert OracleCommittee_TooFewSigners(signers.length);
        if (signers.length > MAX_SIGNERS) revert OracleCommittee_TooManySigners(signers.length);
        address previous;
        for (uint256 i; i < signers.length; ++i) {
            if (signers[i] <= previous) revert OracleCommittee_SignersNotAscending(previous, signers[i]);
            previous = signers[i];
        }
    }

    function _requireBonds(address[] memory signers) private view {
        uint96 minimum = IOperatorBonds(operatorBonds).minimumBond();
        if (minimum == 0) return;
        for (uint256 i; i < signers.length; ++i) {
            uint96 bonded = IOperatorBonds(operatorBonds).bonded(signers[i]);
            if (bonded < minimum) revert OracleCommittee_BondTooSmall(signers[i], bonded, minimum);
        }
    }

    /// @return signers The packed table of the version that governs the epoch.
    function _checkQuorum(
        Version memory governing,
        uint64 epoch,
        uint32 version,
        bytes32 digest,
        bytes calldata signatures
    ) private view returns (bytes memory signers) {
        if (epoch < governing.fromEpoch || epoch >= governing.untilEpoch) {
            revert OracleCommittee_StaleVersion(version, versionFor(epoch));
        }
        signers = SignerTable.load(governing.table);
        uint256 signerCount = signers.count();

        uint256 given = signatures.length / SIGNATURE_BYTES;
        if (given * SIGNATURE_BYTES != signatures.length) {
            revert OracleCommittee_BadSignatureLength(signatures.length);
        }
        uint256 needed = threshold(signerCount);
        if (given < needed) revert OracleCommittee_NotEnoughSignatures(given, needed);

        uint256 previousIndex;
        for (uint256 i; i < given; ++i) {
            (uint256 index, bytes32 r, uint256 vs) = _signatureAt(signatures, i);
            // Ascending indices are distinct signers.
            if (i != 0 && index <= previousIndex) revert OracleCommittee_SignatureOutOfOrder(previousIndex, index);
            if (index >= signerCount) revert OracleCommittee_UnknownSigner(index, signerCount);
            _requireSignature(index, signers.at(index), digest, r, vs);
            previousIndex = index;
        }
    }

    function _faulty(uint256 count) private pure returns (uint256 f) {
        return (count - 1) / 3;
    }

    /// @dev index(1) ‖ r(32) ‖ vs(32). The caller knows that the blob holds this many.
    function _signatureAt(bytes calldata signatures, uint256 position)
        private
        pure
        returns (uint256 index, bytes32 r, uint256 vs)
    {
        assembly ("memory-safe") {
            let signature := add(signatures.offset, mul(position, SIGNATURE_BYTES))
            index := byte(0, calldataload(signature))
            r := calldataload(add(signature, 1))
            vs := calldataload(add(signature, 33))
        }
    }

    /// @dev `vs` is s with the parity in its top bit, as EIP-2098. Only the lower s counts: whoever sees a signature
    /// can compute its twin with the upper one.
    function _requireSignature(uint256 index, address signer, bytes32 digest, bytes32 r, uint256 vs) private pure {
        uint256 s = vs & (type(uint256).max >> 1);
        if (s > HALF_CURVE_ORDER) revert OracleCommittee_MalleableSignature(index);
        address recovered = ecrecover(digest, uint8(vs >> 255) + 27, r, bytes32(s));
        if (recovered != signer) revert OracleCommittee_WrongSignature(index, signer, recovered);
    }
}
