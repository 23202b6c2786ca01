// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ReportLine} from "../types/Report.sol";
import {Party} from "../types/License.sol";

/// @title Splits charges and pays notes
/// @notice Σ(total − paid) over trees + pool + party credits <= balance, always.
///
/// A tree is an immutable Merkle-sum tree of notes: word = payee(20 bytes) ‖ amount(12 bytes),
/// leaf = keccak256(0x00 ‖ word), node = keccak256(leftHash ‖ leftSum(12) ‖ rightHash ‖ rightSum(12)).
/// A missing leaf is the zero word, whose hash and sum are both 0. Proof items are 44 bytes, hash ‖ sum, bottom up.
/// Tree 2N holds the notes of epoch N, tree 2N + 1 its reserve if that was issued: same nodes, but its leaves are
/// keccak256(0x02 ‖ word ‖ salt), so that nobody can read from a reserve that was never issued who would get what.
///
/// Safety: a tree never pays more than its total, which was funded when it was issued; each note pays once, to
/// its payee or to where the payee signed; no role can change a root or take a note back, with one exception, spelled
/// out at {scheduleReissue}: notes that stayed unpaid for five years.
/// Liveness: a payee the token refuses stays unpaid and can be paid later; others are not held up. Up to 3 base units
/// per license and as many of its income are dust that no rounding reaches.
interface IRoyaltySplitter {
    /// @param paid What was paid so far; the whole total once the tree was re-issued.
    /// @param issuedAt In seconds.
    struct Tree {
        bytes32 root;
        uint96 total;
        uint96 paid;
        uint32 count;
        uint32 issuedAt;
    }

    /// @notice One note and its proof, for {claimMany}.
    struct Claim {
        uint64 treeId;
        uint32 index;
        uint256 word;
        bytes proof;
    }

    /// @notice A tree that the council scheduled in place of an old one. Count 0: none.
    struct Reissue {
        bytes32 root;
        uint96 total;
        uint32 count;
        uint48 executableAt;
    }

    /// @notice Who receives the parties' shares; the steward's and the community's go to those of the license.
    /// @param custodian Holder of the reserve of purses without an address.
    struct Beneficiaries {
        address platform;
        address operators;
        address custodian;
    }

    event Accrued(
        uint32 indexed licenseId,
        uint96 contributors,
        uint96 community,
        uint96 steward,
        uint96 platform,
        uint96 operators
    );
    /// @notice What a license earned besides its use, and whose it is.
    event IncomeAccrued(
        uint32 indexed licenseId,
        uint96 contributors,
        uint96 community,
        uint96 steward,
        uint96 platform,
        uint96 operators
    );
    event NotesIssued(uint64 indexed treeId, bytes32 root, uint96 total, uint32 count);
    event NotePaid(uint64 indexed treeId, uint32 indexed index, address indexed to, uint96 amount);
    /// @notice Notes start … start + 2**log2Count - 1 were offered for payment; `amount` moved now.
    event RangePaid(uint64 indexed treeId, uint32 start, uint8 log2Count, uint96 amount);
    event SharePaid(uint32 indexed licenseId, Party indexed party, address indexed to, uint96 amount);
    event ReissueScheduled(uint64 indexed treeId, bytes32 root, uint96 total, uint32 count, uint48 executableAt);
    event NotesReissued(uint64 indexed treeId, uint64 indexed newTreeId, bytes32 root, uint96 total, uint32 count);
    event PoolSurrendered(uint256 amount);
    event Rescued(address indexed asset, uint256 amount);

    error RoyaltySplitter_OnlyEscrow(address caller);
    error RoyaltySplitter_OnlySettlement(address caller);
    error RoyaltySplitter_OnlyFees(address caller);
    error RoyaltySplitter_OnlyWindDown(address caller);
    error RoyaltySplitter_ZeroAddress(string what);
    error RoyaltySplitter_WrongToken(address given, address expected);
    error RoyaltySplitter_ZeroAmount();
    error RoyaltySplitter_IncomeTooLarge(uint32 licenseId, uint256 income);
    error RoyaltySplitter_TreeExists(uint64 treeId);
    error RoyaltySplitter_UnknownTree(uint64 treeId);
    error RoyaltySplitter_Unfunded(uint256 total, uint256 pool);
    error RoyaltySplitter_BadEmptyTree(bytes32 root, uint96 total, uint32 count);
    error RoyaltySplitter_IndexOutOfRange(uint64 treeId, uint256 index, uint32 count);
    error RoyaltySplitter_BadProofLength(uint64 treeId, uint256 given, uint256 expected);
    error RoyaltySplitter_BadRange(uint256 start, uint256 log2Count, uint256 depth);
    error RoyaltySplitter_WordsBeyondCount(uint256 index);
    error RoyaltySplitter_WrongWordCount(uint256 given, uint256 expected);
    error RoyaltySplitter_ProofMismatch(uint64 treeId, bytes32 root, uint256 total);
    error RoyaltySplitter_SumOverflow();
    error RoyaltySplitter_ZeroWord(uint64 treeId, uint256 index);
    error RoyaltySplitter_NotReserve(uint64 treeId);
    error RoyaltySplitter_AlreadyPaid(uint64 treeId, uint256 index);
    error RoyaltySplitter_OverTotal(uint64 treeId, uint256 paid, uint96 total);
    error RoyaltySplitter_TransferFailed(address to, uint256 amount);
    error RoyaltySplitter_LowGas(uint256 left, uint256 needed);
    error RoyaltySplitter_RedirectExpired(uint64 deadline, uint256 nowSeconds);
    error RoyaltySplitter_BadRedirectSignature(address payee, bytes32 digest);
    error RoyaltySplitter_NothingToPay(uint32 licenseId, Party party);
    error RoyaltySplitter_NotForRescue(address asset);
    error RoyaltySplitter_TooYoung(uint64 treeId, uint256 oldEnoughAt, uint256 nowSeconds);
    error RoyaltySplitter_NotAllUnpaid(uint64 treeId, uint96 total, uint96 unpaid);
    error RoyaltySplitter_NothingScheduled(uint64 treeId);
    error RoyaltySplitter_NoticeRunning(uint64 treeId, uint256 executableAt, uint256 nowSeconds);
    /// @notice What was unpaid of this tree is now in its successor.
    error RoyaltySplitter_TreeReissued(uint64 treeId);

    /// @notice Escrow: the charges of these lines have arrived; divide them by cumulative basis points.
    function accrue(ReportLine[] calldata lines) external;

    /// @notice Fees: an upfront fee, a milestone or a royalty of this license has arrived; divide it by the license's
    /// basis points. Income is a cumulative total of its own, so charges and income never share a rounding.
    function accrueIncome(uint32 licenseId, uint96 amount) external;

    /// @notice Settlement: turn part of the pool into a tree. Count 0 (root 0, total 0) issues nothing.
    function issue(uint64 treeId, bytes32 root, uint96 total, uint32 count) external;

    /// @notice Pay an aligned range of 2**log2Count (<= 256) notes. Anyone may; paid and refused notes are skipped. A
    /// transfer gets at most 300,000 gas, so that no payee can use up the others'; 100,000 must be left before each.
    /// @param words All words of the range, zero-padded beyond the tree's count.
    function payRange(uint64 treeId, uint32 start, uint8 log2Count, uint256[] calldata words, bytes calldata proof)
        external
        returns (uint96 amount);

    /// @notice Pay one note to its payee. Anyone may.
    function claim(uint64 treeId, uint32 index, uint256 word, bytes calldata proof) external;

    /// @notice Pay several notes, of any trees, to their payees: all of them or, naming the first that cannot be paid,
    /// none. Anyone may.
    function claimMany(Claim[] calldata claims) external;

    /// @notice Pay one leaf of an issued reserve (odd tree) to its payee. Anyone may who knows word and salt.
    function claimReserve(uint64 treeId, uint32 index, uint256 word, bytes32 salt, bytes calldata proof) external;

    /// @notice Pay one note to where its payee signed (EIP-712 NoteRedirect; ERC-1271 wallets too).
    function redirect(
        uint64 treeId,
        uint32 index,
        uint256 word,
        address to,
        uint64 deadline,
        bytes calldata signature,
        bytes calldata proof
    ) external;

    /// @notice Send a party what it has earned from a license and not yet received. Anyone may.
    function payShare(uint32 licenseId, Party party) external returns (uint96 amount);

    /// @notice Wind-down, once the settlement is closed: hand over what no note will be issued from.
    function surrenderPool() external returns (uint256 amount);

    /// @notice Council: schedule a tree in place of one issued at least five years ago (365.25 days each), over all that
    /// is still unpaid of it: no more, and no less, for what it left out would belong to nobody.
    ///
    /// This is the one way in which a role changes who is paid, for lost wallets and estates. It needs five years, 90
    /// days' public notice, and that nothing of the old tree is paid meanwhile: until it is executed anyone can pay every
    /// old note to its payee, and a single payment voids the schedule. Scheduling again starts the notice again.
    /// Trees cannot be re-issued after February 2106, when their time of issue no longer fits.
    function scheduleReissue(uint64 treeId, bytes32 root, uint96 total, uint32 count) external;

    /// @notice Close a tree and open its scheduled successor, 90 days later, if exactly what was unpaid then is still
    /// unpaid. Anyone may.
    /// @return newTreeId treeId + 2**40.
    function executeReissue(uint64 treeId) external returns (uint64 newTreeId);

    /// @notice Send what this contract holds of another token to the custodian. Anyone may. Never the settlement token.
    function rescue(address asset) external returns (uint256 amount);

    function token() external view returns (address);
    function registry() external view returns (address);
    function escrow() external view returns (address);
    function settlement() external view returns (address);
    /// @notice May add to a license's income: upfront fees, milestones, royalties.
    function fees() external view returns (address);
    function windDown() external view returns (address);
    /// @notice Contributors' money not yet issued as notes.
    function pool() external view returns (uint256);
    function charged(uint32 licenseId) external view returns (uint96);
    /// @notice Everything a license earned besides its use.
    function income(uint32 licenseId) external view returns (uint96);
    /// @notice All that a party ever earned from a license, by charges and income, paid or not.
    function shareEarned(uint32 licenseId, Party party) external view returns (uint256);
    /// @notice What {payShare} would send now: what was earned and not yet sent.
    function shareCredit(uint32 licenseId, Party party) external view returns (uint96);
    function beneficiary(uint32 licenseId, Party party) external view returns (address);
    /// @notice Who holds the reserve of purses without an address.
    function custodian() external view returns (address);
    function tree(uint64 treeId) external view returns (Tree memory);
    function reissue(uint64 treeId) external view returns (Reissue memory);
    /// @notice 256 paid bits: notes 256 * wordIndex … 256 * wordIndex + 255.
    function paidBits(uint64 treeId, uint256 wordIndex) external view returns (uint256);
    function isPaid(uint64 treeId, uint32 index) external view returns (bool);
    function hashRedirect(uint64 treeId, uint32 index, uint256 word, address to, uint64 deadline)
        external
        view
        returns (bytes32 digest);
}
