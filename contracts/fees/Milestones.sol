// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {FeePurse} from "./FeePurse.sol";
import {ILicenseFees} from "../interfaces/ILicenseFees.sol";
import {Attestation, Milestone, MilestoneTerms} from "../types/Consideration.sol";
import {LicenseOffer} from "../types/License.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title The part of LicenseFees that holds milestone money
abstract contract Milestones is FeePurse {
    bytes32 private constant REACHED_TYPEHASH =
        keccak256("MilestoneReached(uint32 licenseId,uint8 index,bytes32 evidenceHash)");

    /// @inheritdoc ILicenseFees
    mapping(uint32 licenseId => bytes32) public milestonesHash;
    mapping(uint32 licenseId => mapping(uint8 index => MilestoneDeposit)) private _milestones;
    /// @dev All held milestone money. Whatever else went wrong, no more than this can leave for milestones.
    uint96 internal _heldMilestones;

    /// @inheritdoc ILicenseFees
    function openMilestones(uint32 licenseId, LicenseOffer calldata offer, MilestoneTerms calldata terms) external {
        if (milestonesHash[licenseId] != 0) revert LicenseFees_AlreadyOpened(licenseId);
        _requireOffer(licenseId, offer);
        bytes32 hash = _hashTerms(terms);
        if (hash != offer.milestonesHash) revert LicenseFees_WrongTerms(licenseId, hash, offer.milestonesHash);
        _requireSound(terms, _coolingOffEnd(_license(licenseId)));
        milestonesHash[licenseId] = hash;
        emit MilestonesOpened(licenseId, hash, terms.milestones.length, terms.quorum);
    }

    /// @inheritdoc ILicenseFees
    function fundMilestone(uint32 licenseId, uint8 index, MilestoneTerms calldata terms) external nonReentrant {
        _requireTerms(licenseId, terms);
        if (index >= terms.milestones.length) revert LicenseFees_UnknownMilestone(licenseId, index);
        Milestone calldata agreed = terms.milestones[index];
        Stage stage = _milestones[licenseId][index].stage;
        if (stage != Stage.None) revert LicenseFees_AlreadyFunded(licenseId, index, stage);
        if (_cooledOff(licenseId)) revert LicenseFees_CooledOff(licenseId);
        if (block.timestamp > agreed.deadline) {
            revert LicenseFees_MilestoneExpired(licenseId, index, agreed.deadline);
        }
        _milestones[licenseId][index] = MilestoneDeposit(agreed.amount, agreed.deadline, Stage.Held);
        _heldMilestones += agreed.amount;
        emit MilestoneFunded(licenseId, index, msg.sender, agreed.amount, agreed.deadline);
        _collect(msg.sender, agreed.amount);
    }

    /// @inheritdoc ILicenseFees
    function releaseMilestone(
        uint32 licenseId,
        uint8 index,
        bytes32 evidenceHash,
        MilestoneTerms calldata terms,
        Attestation[] calldata attestations
    ) external nonReentrant {
        _requireTerms(licenseId, terms);
        _requireBound(licenseId);
        MilestoneDeposit storage found = _heldMilestone(licenseId, index);
        if (block.timestamp > found.deadline) revert LicenseFees_MilestoneExpired(licenseId, index, found.deadline);
        _requireAttested(hashMilestoneReached(licenseId, index, evidenceHash), terms, attestations);
        uint96 amount = _settle(found, Stage.Released);
        emit MilestoneReleased(licenseId, index, amount, evidenceHash);
        _release(licenseId, amount);
    }

    /// @inheritdoc ILicenseFees
    function refundMilestone(uint32 licenseId, uint8 index, address to) external nonReentrant {
        _requireBuyer(licenseId, to);
        MilestoneDeposit storage found = _heldMilestone(licenseId, index);
        if (block.timestamp <= found.deadline && !_cooledOff(licenseId)) {
            revert LicenseFees_MilestoneRunning(licenseId, index, found.deadline);
        }
        uint96 amount = _settle(found, Stage.Refunded);
        emit MilestoneRefunded(licenseId, index, to, amount);
        _refund(to, amount);
    }

    /// @inheritdoc ILicenseFees
    function milestone(uint32 licenseId, uint8 index) external view returns (MilestoneDeposit memory) {
        return _milestones[licenseId][index];
    }

    /// @inheritdoc ILicenseFees
    function hashMilestoneReached(uint32 licenseId, uint8 index, bytes32 evidenceHash)
        public
        view
        returns (bytes32 digest)
    {
        return _hashTypedDataV4(keccak256(abi.encode(REACHED_TYPEHASH, licenseId, index, evidenceHash)));
    }

    /// @dev A milestone's money leaves once and whole.
    function _settle(MilestoneDeposit storage found, Stage stage) private returns (uint96 amount) {
        found.stage = stage;
        amount = found.amount;
        _heldMilestones -= amount;
    }

    function _heldMilestone(uint32 licenseId, uint8 index) private view returns (MilestoneDeposit storage found) {
        found = _milestones[licenseId][index];
        if (found.stage != Stage.Held) revert LicenseFees_NotHeld(licenseId, found.stage);
    }

    /// @dev That these are the terms which were opened.
    function _requireTerms(uint32 licenseId, MilestoneTerms calldata terms) private view {
        bytes32 opened = milestonesHash[licenseId];
        if (opened == 0) revert LicenseFees_NotOpened(licenseId);
        bytes32 given = _hashTerms(terms);
        if (given != opened) revert LicenseFees_WrongTerms(licenseId, given, opened);
    }

    /// @dev That at least a quorum signed the digest, each at most once, and nobody else.
    function _requireAttested(bytes32 digest, MilestoneTerms calldata terms, Attestation[] calldata attestations)
        private
        view
    {
        if (attestations.length < terms.quorum) {
            revert LicenseFees_NotEnoughAttestations(attestations.length, terms.quorum);
        }
        for (uint256 i; i < attestations.length; ++i) {
            uint256 position = attestations[i].attester;
            if (i != 0 && position <= attestations[i - 1].attester) {
                revert LicenseFees_AttestationOutOfOrder(attestations[i - 1].attester, position);
            }
            if (position >= terms.attesters.length) {
                revert LicenseFees_UnknownAttester(position, terms.attesters.length);
            }
            address attester = terms.attesters[position];
            if (!SignatureChecker.isValidSignatureNow(attester, digest, attestations[i].signature)) {
                revert LicenseFees_BadAttestation(attester, digest);
            }
        }
    }

    /// @param earliestDeadline The end of the cooling-off time: before it nothing is released.
    function _requireSound(MilestoneTerms calldata terms, uint256 earliestDeadline) private pure {
        uint256 count = terms.milestones.length;
        if (count == 0 || count > type(uint8).max) revert LicenseFees_BadMilestoneCount(count);
        for (uint256 i; i < count; ++i) {
            Milestone calldata agreed = terms.milestones[i];
            if (agreed.amount == 0 || agreed.deadline < earliestDeadline) revert LicenseFees_BadMilestone(i);
        }
        count = terms.attesters.length;
        address previous;
        for (uint256 i; i < count; ++i) {
            address next = terms.attesters[i];
            if (next <= previous) revert LicenseFees_AttestersNotAscending(previous, next);
            previous = next;
        }
        if (terms.quorum == 0 || terms.quorum > count) revert LicenseFees_BadQuorum(terms.quorum, count);
    }

    function _hashTerms(MilestoneTerms calldata terms) private pure returns (bytes32) {
        return keccak256(abi.encode(terms.milestones, terms.attesters, terms.quorum));
    }
}
