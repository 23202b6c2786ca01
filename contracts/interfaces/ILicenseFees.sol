// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {
    Attestation,
    AuditCorrection,
    MilestoneTerms,
    RevenueStatement,
    RoyaltyTerms
} from "../types/Consideration.sol";
import {LicenseOffer} from "../types/License.sol";

/// @title What a license costs besides its use: upfront fee, milestones, royalty on declared revenue
/// @notice Money that parties owe by the license goes to the splitter and is divided there as charges are.
///
/// Upfront fees and milestones wait here until it is settled whose they are; each license's upfront fee and each
/// milestone is a sum of its own, paid out whole and once, to the splitter or to the buyer. Royalties pass through in
/// the call that pays them.
///
/// Terms of milestones and royalty are hashes in the signed offer. Whoever knows what they stand for opens them.
///
/// Safety: collected = held + released + refunded, for upfront fees and for milestones apart. Nothing leaves for the
/// splitter while the buyer can still cool off, and nothing afterwards if they did. No role has a path to any money.
/// A signature counts for one license, one milestone or period, on one chain, and no second time.
/// Liveness: a refund waits for the buyer, who names where it goes, so a blocked wallet loses nothing. Attesters who
/// stay silent cost the payee the milestone. An auditor can raise what is owed, which moves no money but keeps the
/// bond in place: terms should name one whom both sides trust.
interface ILicenseFees {
    enum Stage {
        None,
        Held,
        Released,
        Refunded
    }

    struct Upfront {
        uint96 amount;
        Stage stage;
    }

    struct MilestoneDeposit {
        uint96 amount;
        uint48 deadline;
        Stage stage;
    }

    /// @param stated What the buyer declared last.
    /// @param corrected What an auditor found last.
    /// @param revision Of the last correction; 0 before the first.
    /// @param paid Royalty paid for the period, penalties apart.
    /// @param penalties Penalties paid for the period.
    struct RoyaltyPeriod {
        uint96 stated;
        uint96 corrected;
        uint32 revision;
        uint96 paid;
        uint96 penalties;
    }

    event UpfrontCollected(uint32 indexed licenseId, address indexed from, uint96 amount);
    event UpfrontReleased(uint32 indexed licenseId, uint96 amount);
    event UpfrontRefunded(uint32 indexed licenseId, address indexed to, uint96 amount);
    event MilestonesOpened(uint32 indexed licenseId, bytes32 milestonesHash, uint256 count, uint8 quorum);
    event MilestoneFunded(
        uint32 indexed licenseId, uint8 indexed index, address indexed from, uint96 amount, uint48 deadline
    );
    event MilestoneReleased(uint32 indexed licenseId, uint8 indexed index, uint96 amount, bytes32 evidenceHash);
    event MilestoneRefunded(uint32 indexed licenseId, uint8 indexed index, address indexed to, uint96 amount);
    event RoyaltyOpened(uint32 indexed licenseId, RoyaltyTerms terms);
    event RevenueStated(uint32 indexed licenseId, uint32 indexed period, uint96 revenue, bytes32 documentHash);
    event RevenueCorrected(
        uint32 indexed licenseId,
        uint32 indexed period,
        address indexed auditor,
        uint96 revenue,
        uint32 revision,
        bytes32 findingHash
    );
    event RoyaltyPaid(
        uint32 indexed licenseId, uint32 indexed period, address indexed from, uint96 royalty, uint96 penalty
    );

    error LicenseFees_ZeroAddress(string what);
    error LicenseFees_WrongToken(address given, address expected);
    error LicenseFees_OnlyRegistry(address caller);
    error LicenseFees_ZeroAmount();
    error LicenseFees_WrongDelta(uint256 expected, uint256 received);
    error LicenseFees_NotBuyer(uint32 licenseId, address caller);
    error LicenseFees_WrongOffer(uint32 licenseId, bytes32 given, bytes32 accepted);
    error LicenseFees_WrongTerms(uint32 licenseId, bytes32 given, bytes32 agreed);
    error LicenseFees_AlreadyOpened(uint32 licenseId);
    error LicenseFees_NotOpened(uint32 licenseId);
    /// @notice The sum is not where this call could take it from: not collected, or already paid out.
    error LicenseFees_NotHeld(uint32 licenseId, Stage stage);
    error LicenseFees_CoolingOff(uint32 licenseId, uint256 until);
    error LicenseFees_CooledOff(uint32 licenseId);
    error LicenseFees_NotCooledOff(uint32 licenseId);
    error LicenseFees_BadMilestone(uint256 index);
    error LicenseFees_BadMilestoneCount(uint256 count);
    error LicenseFees_AttestersNotAscending(address previous, address next);
    error LicenseFees_BadQuorum(uint8 quorum, uint256 attesters);
    error LicenseFees_UnknownMilestone(uint32 licenseId, uint8 index);
    error LicenseFees_AlreadyFunded(uint32 licenseId, uint8 index, Stage stage);
    error LicenseFees_MilestoneExpired(uint32 licenseId, uint8 index, uint48 deadline);
    error LicenseFees_MilestoneRunning(uint32 licenseId, uint8 index, uint48 deadline);
    error LicenseFees_NotEnoughAttestations(uint256 given, uint8 quorum);
    error LicenseFees_AttestationOutOfOrder(uint256 previous, uint256 next);
    error LicenseFees_UnknownAttester(uint256 attester, uint256 count);
    error LicenseFees_BadAttestation(address attester, bytes32 digest);
    error LicenseFees_BadRoyaltyTerms();
    error LicenseFees_NoSuchPeriod(uint32 licenseId, uint32 period, uint256 count);
    error LicenseFees_PeriodNotOver(uint32 licenseId, uint32 period, uint256 endsAt);
    error LicenseFees_StatementMissing(uint32 licenseId, uint32 expected, uint32 given);
    error LicenseFees_StatementNotHigher(uint32 licenseId, uint32 period, uint96 stated, uint96 given);
    error LicenseFees_BadStatement(address buyer, bytes32 digest);
    error LicenseFees_NotAuditor(uint32 licenseId, address auditor);
    error LicenseFees_StaleCorrection(uint32 licenseId, uint32 period, uint32 revision);
    error LicenseFees_BadCorrection(address auditor, bytes32 digest);
    error LicenseFees_NothingOwed(uint32 licenseId, uint32 period);
    error LicenseFees_PaymentTooLarge(uint256 payment);

    // -- upfront fee -------------------------------------------------------------------------------------------

    /// @notice Registry: pull the upfront fee of an offer, at acceptance. The buyer has approved this contract. It is
    /// held until the cooling-off time is over.
    function collectUpfront(uint32 licenseId, address from, uint96 amount) external;

    /// @notice Pay a held fee to the splitter once the buyer can no longer cool off, and did not. Anyone may.
    function releaseUpfront(uint32 licenseId) external;

    /// @notice The buyer who cooled off takes the fee back.
    function refundUpfront(uint32 licenseId, address to) external;

    function upfront(uint32 licenseId) external view returns (Upfront memory);

    // -- milestones --------------------------------------------------------------------------------------------

    /// @notice Show what the offer's milestonesHash stands for. Anyone may. Every amount is above 0 and every deadline
    /// no earlier than the end of the cooling-off time, attesters ascend, and the quorum is at least 1 and no more than
    /// they are: terms that fail this can never be opened.
    function openMilestones(uint32 licenseId, LicenseOffer calldata offer, MilestoneTerms calldata terms) external;

    /// @notice Put exactly the amount of one milestone in. Anyone may, but it comes back to the buyer only.
    function fundMilestone(uint32 licenseId, uint8 index, MilestoneTerms calldata terms) external;

    /// @notice Pay a funded milestone to the splitter: a quorum of attesters signed that it was reached, on one evidence
    /// hash, and its deadline has not passed. Anyone may carry the signatures, ascending by attester.
    function releaseMilestone(
        uint32 licenseId,
        uint8 index,
        bytes32 evidenceHash,
        MilestoneTerms calldata terms,
        Attestation[] calldata attestations
    ) external;

    /// @notice The buyer takes a milestone's money back, after its deadline or after cooling off.
    function refundMilestone(uint32 licenseId, uint8 index, address to) external;

    /// @notice Hash of the opened milestones; 0 before.
    function milestonesHash(uint32 licenseId) external view returns (bytes32);
    function milestone(uint32 licenseId, uint8 index) external view returns (MilestoneDeposit memory);
    function hashMilestoneReached(uint32 licenseId, uint8 index, bytes32 evidenceHash)
        external
        view
        returns (bytes32 digest);

    // -- royalty -----------------------------------------------------------------------------------------------

    /// @notice Show what the offer's royaltyHash stands for. Anyone may. 0 < revenueBps <= 10,000, periods of a day or
    /// more, and the first one ends after acceptance: terms that fail this can never be opened.
    function openRoyalty(uint32 licenseId, LicenseOffer calldata offer, RoyaltyTerms calldata terms) external;

    /// @notice Declare the revenue of a period that is over, in the order of the periods; later for the same period only
    /// a higher one. The buyer calls, or anyone with the buyer's signature (ECDSA or ERC-1271).
    function stateRevenue(RevenueStatement calldata statement, bytes calldata signature) external;

    /// @notice Carry an auditor's signed finding. It replaces the last one; what is owed follows the higher of it and
    /// the buyer's own word. Once a period's royalty is late, a correction also stands in for a missing statement.
    function correctRevenue(AuditCorrection calldata correction, address auditor, bytes calldata signature) external;

    /// @notice Pay what is owed for a period, but no more royalty than `most`, with the penalty on what is paid if that
    /// is late. Anyone may: whoever pays first only leaves less to pay.
    /// @return paid Royalty paid.
    /// @return penalty What was paid on top.
    function payRoyalty(uint32 licenseId, uint32 period, uint96 most) external returns (uint96 paid, uint96 penalty);

    /// @notice What paying off a period's royalty takes now.
    function royaltyOwed(uint32 licenseId, uint32 period) external view returns (uint256 royalty, uint256 penalty);

    /// @notice Whether every period of the license is stated and paid in full. Also true while its royalty terms are
    /// unopened, or if it was cooled off.
    function royaltySettled(uint32 licenseId) external view returns (bool);

    /// @notice How many periods the license has: those that begin before its end. None if it was cooled off.
    function royaltyPeriodCount(uint32 licenseId) external view returns (uint256);
    /// @return stated Periods stated so far, from 0 without gaps.
    /// @return unpaid Of those, how many are not paid in full.
    function royaltyProgress(uint32 licenseId) external view returns (uint32 stated, uint32 unpaid);
    function royaltyTerms(uint32 licenseId) external view returns (RoyaltyTerms memory);
    function royaltyPeriod(uint32 licenseId, uint32 period) external view returns (RoyaltyPeriod memory);
    function hashRevenueStatement(RevenueStatement calldata statement) external view returns (bytes32 digest);
    function hashAuditCorrection(AuditCorrection calldata correction) external view returns (bytes32 digest);

    // -- wiring ------------------------------------------------------------------------------------------------

    function token() external view returns (address);
    function registry() external view returns (address);
    function splitter() external view returns (address);
    function councilRegister() external view returns (address);
    /// @notice Upfront fees and milestone money held here now.
    function held() external view returns (uint96 upfrontFees, uint96 milestones);
}
