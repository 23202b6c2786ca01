// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {IOracleCommittee} from "./interfaces/IOracleCommittee.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {SignerTable} from "./libraries/SignerTable.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";

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

    /// @dev Governs fromEpoch <= epoch < untilEpoch. One slot, so that checking a quorum reads one.
    struct Version {
        address table;
        uint48 fromEpoch;
        uint48 untilEpoch;
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
        _addVersion(initialSigners, 1);
    }

    /// @inheritdoc IOracleCommittee
    function rotate(address[] calldata signers, uint48 fromEpoch) external restricted returns (uint32 version) {
        // The epoch after the last finalized one is open, and may have a report pending.
        uint48 openEpoch = IUsageSettlement(settlement).state().lastEpoch + 1;
        Version storage latest = _versions[latestVersion];

        uint48 firstAllowed = (latest.fromEpoch > openEpoch ? latest.fromEpoch : openEpoch) + 1;
        if (fromEpoch < firstAllowed) revert OracleCommittee_EpochNotInFuture(fromEpoch, firstAllowed);
        uint48 lastAllowed = openEpoch + uint48(MAX_NOTICE_EPOCHS);
        if (fromEpoch > lastAllowed) revert OracleCommittee_EpochTooFar(fromEpoch, lastAllowed);

        latest.untilEpoch = fromEpoch;
        return _addVersion(signers, fromEpoch);
    }

    /// @inheritdoc IOracleCommittee
    function requireQuorum(uint64 epoch, uint32 version, bytes32 digest, bytes calldata signatures) external view {
        Version memory governing = _versions[version];
        if (epoch < governing.fromEpoch || epoch >= governing.untilEpoch) {
            revert OracleCommittee_StaleVersion(version, versionFor(epoch));
        }
        bytes memory signers = SignerTable.load(governing.table);
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

    /// @inheritdoc IOracleCommittee
    function versionFor(uint64 epoch) public view returns (uint32 version) {
        // Rotations are few and mostly recent ones are asked for.
        for (version = latestVersion; version != 0; --version) {
            if (epoch >= _versions[version].fromEpoch) break;
        }
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
        uint256 faulty = (count - 1) / 3;
        return (count + faulty) / 2 + 1;
    }

    function _addVersion(address[] memory signers, uint48 fromEpoch) private returns (uint32 version) {
        if (signers.length < MIN_SIGNERS) revert OracleCommittee_TooFewSigners(signers.length);
        if (signers.length > MAX_SIGNERS) revert OracleCommittee_TooManySigners(signers.length);
        address previous;
        for (uint256 i; i < signers.length; ++i) {
            if (signers[i] <= previous) revert OracleCommittee_SignersNotAscending(previous, signers[i]);
            previous = signers[i];
        }
        version = ++latestVersion;
        _versions[version] =
            Version({table: SignerTable.store(signers), fromEpoch: fromEpoch, untilEpoch: type(uint48).max});
        emit SignersRotated(version, fromEpoch, signers);
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
