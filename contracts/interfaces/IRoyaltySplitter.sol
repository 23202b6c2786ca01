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
///
/// Safety: a tree never pays more than its total, which was funded when it was issued; each note pays once, to
/// its payee or to where the payee signed; no role can change a root or take a note back.
/// Liveness: a payee the token refuses stays unpaid and can be paid later; others are not held up. Up to 3 base units
/// per license are dust that no rounding reaches.
interface IRoyaltySplitter {
    struct Tree {
        bytes32 root;
        uint96 total;
        uint96 paid;
        uint32 count;
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
    event NotesIssued(uint64 indexed treeId, bytes32 root, uint96 total, uint32 count);
    event NotePaid(uint64 indexed treeId, uint32 indexed index, address indexed to, uint96 amount);
    /// @notice Notes start … start + 2**log2Count - 1 were offered for payment; `amount` moved now.
    event RangePaid(uint64 indexed treeId, uint32 start, uint8 log2Count, uint96 amount);
    event SharePaid(uint32 indexed licenseId, Party indexed party, address indexed to, uint96 amount);

    error RoyaltySplitter_OnlyEscrow(address caller);
    error RoyaltySplitter_OnlySettlement(address caller);
    error RoyaltySplitter_ZeroAddress(string what);
    error RoyaltySplitter_WrongToken(address given, address expected);
    error RoyaltySplitter_PoolTooLarge(uint256 pool);
    error RoyaltySplitter_TreeExists(uint64 treeId);
    error RoyaltySplitter_UnknownTree(uint64 treeId);
    error RoyaltySplitter_Unfunded(uint256 total, uint256 pool);
    error RoyaltySplitter_BadEmptyTree(bytes32 root, uint96 total, uint32 count);
    error RoyaltySplitter_IndexOutOfRange(uint64 treeId, uint256 index, uint32 count);
    error RoyaltySplitter_BadProofLength(uint256 given, uint256 expected);
    error RoyaltySplitter_BadRange(uint256 start, uint256 log2Count, uint256 depth);
    error RoyaltySplitter_WordsBeyondCount(uint256 index);
    error RoyaltySplitter_WrongWordCount(uint256 given, uint256 expected);
    error RoyaltySplitter_ProofMismatch(uint64 treeId, bytes32 root, uint256 total);
    error RoyaltySplitter_SumOverflow();
    error RoyaltySplitter_ZeroWord(uint256 index);
    error RoyaltySplitter_AlreadyPaid(uint64 treeId, uint256 index);
    error RoyaltySplitter_OverTotal(uint64 treeId, uint256 paid, uint96 total);
    error RoyaltySplitter_TransferFailed(address to, uint256 amount);
    error RoyaltySplitter_LowGas(uint256 left, uint256 needed);
    error RoyaltySplitter_RedirectExpired(uint64 deadline, uint256 nowSeconds);
    error RoyaltySplitter_BadRedirectSignature(address payee, bytes32 digest);
    error RoyaltySplitter_NothingToPay(uint32 licenseId, Party party);

    /// @notice Escrow: the charges of these lines have arrived; divide them by cumulative basis points.
    function accrue(ReportLine[] calldata lines) external;

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

    function token() external view returns (address);
    function registry() external view returns (address);
    function escrow() external view returns (address);
    function settlement() external view returns (address);
    /// @notice May add to a license's income: upfront fees, milestones, royalties.
    function fees() external view returns (address);
    function windDown() external view returns (address);
    /// @notice Contributors' money not yet issued as notes.
    function pool() external view returns (uint96);
    function charged(uint32 licenseId) external view returns (uint96);
    function shareCredit(uint32 licenseId, Party party) external view returns (uint96);
    function beneficiary(uint32 licenseId, Party party) external view returns (address);
    /// @notice Who holds the reserve of purses without an address.
    function custodian() external view returns (address);
    function tree(uint64 treeId) external view returns (Tree memory);
    /// @notice 256 paid bits: notes 256 * wordIndex … 256 * wordIndex + 255.
    function paidBits(uint64 treeId, uint256 wordIndex) external view returns (uint256);
    function isPaid(uint64 treeId, uint32 index) external view returns (bool);
    function hashRedirect(uint64 treeId, uint32 index, uint256 word, address to, uint64 deadline)
        external
        view
        returns (bytes32 digest);
}
