// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {NoteTree} from "./libraries/NoteTree.sol";
import {Party, SplitAccount} from "./types/License.sol";
import {ReportLine} from "./types/Report.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title RoyaltySplitter
/// @notice Holds everybody else's money until it is paid. Rules and guarantees: {IRoyaltySplitter}.
contract RoyaltySplitter is IRoyaltySplitter, AccessManaged, EIP712, ReentrancyGuardTransient {
    bytes32 private constant REDIRECT_TYPEHASH = keccak256(
        "NoteRedirect(uint64 treeId,uint32 index,address payee,uint96 amount,address to,uint64 deadline)"
    );
    uint256 private constant MAX_LOG2_COUNT = 8; // one word of paid bits
    /// @dev More than a transfer of any token worth listing takes. A caller who leaves too little on purpose can only
    /// make notes look refused, and these stay payable; this keeps it from happening by accident.
    uint256 private constant MIN_TRANSFER_GAS = 100_000;
    /// @dev What one payee of a range can burn at most; a claim of its own has no such bound.
    uint256 private constant MAX_TRANSFER_GAS = 300_000;

    /// @inheritdoc IRoyaltySplitter
    address public immutable token;
    /// @inheritdoc IRoyaltySplitter
    address public immutable registry;
    /// @inheritdoc IRoyaltySplitter
    address public immutable escrow;
    /// @inheritdoc IRoyaltySplitter
    address public immutable settlement;
    /// @inheritdoc IRoyaltySplitter
    address public immutable fees;
    /// @inheritdoc IRoyaltySplitter
    address public immutable windDown;
    /// @inheritdoc IRoyaltySplitter
    address public immutable custodian;
    address private immutable _platform;
    address private immutable _operators;

    /// @inheritdoc IRoyaltySplitter
    uint96 public pool;
    /// @dev Terms never change, so they are copied at a license's first charge: a slot that each charge reads anyway.
    mapping(uint32 licenseId => SplitAccount) private _accounts;
    /// @dev What a party has earned follows from what was charged; only what it took is kept.
    mapping(uint32 licenseId => mapping(Party => uint96)) private _taken;
    mapping(uint64 treeId => Tree) private _trees;
    /// @inheritdoc IRoyaltySplitter
    mapping(uint64 treeId => mapping(uint256 wordIndex => uint256)) public paidBits;

    constructor(
        address authority,
        address token_,
        address registry_,
        address escrow_,
        address settlement_,
        address fees_,
        address windDown_,
        Beneficiaries memory beneficiaries
    ) AccessManaged(authority) EIP712("Usufruct Splitter", "1") {
        if (authority == address(0)) revert RoyaltySplitter_ZeroAddress("authority");
        if (registry_ == address(0)) revert RoyaltySplitter_ZeroAddress("registry");
        if (escrow_ == address(0)) revert RoyaltySplitter_ZeroAddress("escrow");
        if (settlement_ == address(0)) revert RoyaltySplitter_ZeroAddress("settlement");
        if (fees_ == address(0)) revert RoyaltySplitter_ZeroAddress("fees");
        if (windDown_ == address(0)) revert RoyaltySplitter_ZeroAddress("windDown");
        if (beneficiaries.platform == address(0)) revert RoyaltySplitter_ZeroAddress("platform");
        if (beneficiaries.operators == address(0)) revert RoyaltySplitter_ZeroAddress("operators");
        if (beneficiaries.custodian == address(0)) revert RoyaltySplitter_ZeroAddress("custodian");
        address expected = ILicenseRegistry(registry_).token();
        if (token_ != expected) revert RoyaltySplitter_WrongToken(token_, expected);
        token = token_;
        registry = registry_;
        escrow = escrow_;
        settlement = settlement_;
        fees = fees_;
        windDown = windDown_;
        _platform = beneficiaries.platform;
        _operators = beneficiaries.operators;
        custodian = beneficiaries.custodian;
    }

    /// @inheritdoc IRoyaltySplitter
    function accrue(ReportLine[] calldata lines) external {
        if (msg.sender != escrow) revert RoyaltySplitter_OnlyEscrow(msg.sender);
        uint256 poolAfter = pool;
        for (uint256 i; i < lines.length; ++i) {
            ReportLine memory line = lines[i];
            if (line.charge == 0) continue;
            SplitAccount memory account = _accounts[line.licenseId];
            if (account.charged == 0) account = MoneyMath.open(ILicenseRegistry(registry).pricing(line.licenseId));
            uint96 chargedAfter = account.charged + line.charge;
            MoneyMath.Split memory growth = MoneyMath.split(account, chargedAfter);
            account.charged = chargedAfter;
            _accounts[line.licenseId] = account;
            poolAfter += growth.contributors;
            emit Accrued(
                line.licenseId,
                uint96(growth.contributors),
                uint96(growth.community),
                uint96(growth.steward),
                uint96(growth.platform),
                uint96(growth.operators)
            );
        }
        if (poolAfter > type(uint96).max) revert RoyaltySplitter_PoolTooLarge(poolAfter);
        pool = uint96(poolAfter);
    }

    /// @inheritdoc IRoyaltySplitter
    function issue(uint64 treeId, bytes32 root, uint96 total, uint32 count) external {
        if (msg.sender != settlement) revert RoyaltySplitter_OnlySettlement(msg.sender);
        if (count == 0) {
            if (root != 0 || total != 0) revert RoyaltySplitter_BadEmptyTree(root, total, count);
            return;
        }
        if (_trees[treeId].count != 0) revert RoyaltySplitter_TreeExists(treeId);
        if (total > pool) revert RoyaltySplitter_Unfunded(total, pool);
        pool -= total;
        _trees[treeId] = Tree({root: root, total: total, paid: 0, count: count});
        emit NotesIssued(treeId, root, total, count);
    }

    /// @inheritdoc IRoyaltySplitter
    function payRange(uint64 treeId, uint32 start, uint8 log2Count, uint256[] calldata words, bytes calldata proof)
        external
        nonReentrant
        returns (uint96 amount)
    {
        Tree memory found = _existing(treeId);
        _requireRange(found, treeId, start, log2Count, words, proof);
        (bytes32 hash, uint256 sum) = NoteTree.foldRange(words);
        _requireRoot(found, treeId, hash, sum, start >> log2Count, proof);

        // One word of bits for the whole range, read before and written after the transfers: this is what the
        // re-entrancy guard is for.
        uint256 bits = paidBits[treeId][start >> 8];
        (bits, amount) = _payUnpaid(words, bits, start & 255);
        paidBits[treeId][start >> 8] = bits;
        _addPaid(found, treeId, amount);
        emit RangePaid(treeId, start, log2Count, amount);
    }

    /// @inheritdoc IRoyaltySplitter
    function claim(uint64 treeId, uint32 index, uint256 word, bytes calldata proof) external nonReentrant {
        _pay(treeId, index, word, NoteTree.payee(word), proof);
    }

    /// @inheritdoc IRoyaltySplitter
    function redirect(
        uint64 treeId,
        uint32 index,
        uint256 word,
        address to,
        uint64 deadline,
        bytes calldata signature,
        bytes calldata proof
    ) external nonReentrant {
        if (to == address(0)) revert RoyaltySplitter_ZeroAddress("to");
        if (block.timestamp > deadline) revert RoyaltySplitter_RedirectExpired(deadline, block.timestamp);
        address payee = NoteTree.payee(word);
        bytes32 digest = hashRedirect(treeId, index, word, to, deadline);
        if (!SignatureChecker.isValidSignatureNow(payee, digest, signature)) {
            revert RoyaltySplitter_BadRedirectSignature(payee, digest);
        }
        _pay(treeId, index, word, to, proof);
    }

    /// @inheritdoc IRoyaltySplitter
    function payShare(uint32 licenseId, Party party) external nonReentrant returns (uint96 amount) {
        amount = shareCredit(licenseId, party);
        if (amount == 0) revert RoyaltySplitter_NothingToPay(licenseId, party);
        _taken[licenseId][party] += amount;
        address to = beneficiary(licenseId, party);
        emit SharePaid(licenseId, party, to, amount);
        _sendOrRevert(to, amount);
    }

    /// @inheritdoc IRoyaltySplitter
    function shareCredit(uint32 licenseId, Party party) public view returns (uint96) {
        SplitAccount memory account = _accounts[licenseId];
        uint256 earned = MoneyMath.mulDivDown(account.charged, _bpsOf(account, party), MoneyMath.BPS);
        return uint96(earned) - _taken[licenseId][party];
    }

    /// @inheritdoc IRoyaltySplitter
    function charged(uint32 licenseId) external view returns (uint96) {
        return _accounts[licenseId].charged;
    }

    /// @inheritdoc IRoyaltySplitter
    function beneficiary(uint32 licenseId, Party party) public view returns (address) {
        if (party == Party.Community) return ILicenseRegistry(registry).communityOf(licenseId);
        if (party == Party.Platform) return _platform;
        if (party == Party.Operators) return _operators;
        return ILicenseRegistry(registry).license(licenseId).steward;
    }

    /// @inheritdoc IRoyaltySplitter
    function tree(uint64 treeId) external view returns (Tree memory) {
        return _trees[treeId];
    }

    /// @inheritdoc IRoyaltySplitter
    function isPaid(uint64 treeId, uint32 index) external view returns (bool) {
        return paidBits[treeId][index >> 8] & (1 << (index & 255)) != 0;
    }

    /// @inheritdoc IRoyaltySplitter
    function hashRedirect(uint64 treeId, uint32 index, uint256 word, address to, uint64 deadline)
        public
        view
        returns (bytes32 digest)
    {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    REDIRECT_TYPEHASH, treeId, index, NoteTree.payee(word), NoteTree.amount(word), to, deadline
                )
            )
        );
    }

    /// @dev The one way a single note is paid. Bit and total are written before the money moves.
    function _pay(uint64 treeId, uint32 index, uint256 word, address to, bytes calldata proof) private {
        Tree memory found = _existing(treeId);
        if (index >= found.count) revert RoyaltySplitter_IndexOutOfRange(treeId, index, found.count);
        if (word == 0) revert RoyaltySplitter_ZeroWord(index);
        _requireProofLength(proof, NoteTree.depth(found.count));
        uint96 amount = NoteTree.amount(word);
        _requireRoot(found, treeId, NoteTree.leaf(word), amount, index, proof);

        uint256 bits = paidBits[treeId][index >> 8];
        uint256 bit = 1 << (index & 255);
        if (bits & bit != 0) revert RoyaltySplitter_AlreadyPaid(treeId, index);
        paidBits[treeId][index >> 8] = bits | bit;
        _addPaid(found, treeId, amount);
        emit NotePaid(treeId, index, to, amount);
        _sendOrRevert(to, amount);
    }

    /// @dev Offer every unpaid word of a range to its payee. A refused one keeps its bit clear and stays payable.
    /// @param first Position of the first word's bit within `bits`.
    function _payUnpaid(uint256[] calldata words, uint256 bits, uint256 first)
        private
        returns (uint256 bitsAfter, uint96 amount)
    {
        uint256 bit = 1 << first;
        unchecked {
            // No sum here exceeds the range's, which fits.
            for (uint256 i; i < words.length; ++i) {
                uint256 word = words[i];
                if (bits & bit == 0 && word != 0) {
                    if (gasleft() < MIN_TRANSFER_GAS) revert RoyaltySplitter_LowGas(gasleft(), MIN_TRANSFER_GAS);
                    if (_send(NoteTree.payee(word), NoteTree.amount(word), MAX_TRANSFER_GAS)) {
                        bits |= bit;
                        amount += NoteTree.amount(word);
                    }
                }
                bit <<= 1;
            }
        }
        return (bits, amount);
    }

    function _addPaid(Tree memory found, uint64 treeId, uint96 amount) private {
        uint256 paid = uint256(found.paid) + amount;
        // The bits alone should hold this. Should a proof ever not, the damage ends at this tree's own money.
        if (paid > found.total) revert RoyaltySplitter_OverTotal(treeId, paid, found.total);
        _trees[treeId].paid = uint96(paid);
    }

    function _sendOrRevert(address to, uint256 amount) private {
        if (!_send(to, amount, gasleft())) revert RoyaltySplitter_TransferFailed(to, amount);
    }

    /// @dev IERC20.transfer that reports instead of reverting: true if the token says true, or says nothing and has
    /// code. It gets `gasLimit`, or 63/64 of what is left if that is less. At most one word of an answer is copied, so
    /// that no token can make the caller pay for a long one.
    function _send(address to, uint256 amount, uint256 gasLimit) private returns (bool sent) {
        address asset = token;
        bytes4 selector = IERC20.transfer.selector;
        assembly ("memory-safe") {
            let call_ := mload(0x40)
            mstore(call_, selector)
            mstore(add(call_, 4), to)
            mstore(add(call_, 36), amount)
            mstore(0, 0)
            if call(gasLimit, asset, 0, call_, 68, 0, 32) {
                switch returndatasize()
                case 0 { sent := gt(extcodesize(asset), 0) }
                default { sent := and(gt(returndatasize(), 31), eq(mload(0), 1)) }
            }
        }
    }

    function _existing(uint64 treeId) private view returns (Tree memory found) {
        found = _trees[treeId];
        if (found.count == 0) revert RoyaltySplitter_UnknownTree(treeId);
    }

    function _bpsOf(SplitAccount memory account, Party party) private pure returns (uint256) {
        if (party == Party.Community) return account.communityBps;
        if (party == Party.Steward) return account.stewardBps;
        if (party == Party.Platform) return account.platformBps;
        return account.operatorsBps;
    }

    /// @dev That a range is an aligned power of two inside the tree, with exactly its words and siblings.
    function _requireRange(
        Tree memory found,
        uint64 treeId,
        uint256 start,
        uint256 log2Count,
        uint256[] calldata words,
        bytes calldata proof
    ) private pure {
        uint256 depth = NoteTree.depth(found.count);
        uint256 size = 1 << log2Count;
        if (log2Count > MAX_LOG2_COUNT || log2Count > depth || start & (size - 1) != 0) {
            revert RoyaltySplitter_BadRange(start, log2Count, depth);
        }
        if (start >= found.count) revert RoyaltySplitter_IndexOutOfRange(treeId, start, found.count);
        if (words.length != size) revert RoyaltySplitter_WrongWordCount(words.length, size);
        _requireProofLength(proof, depth - log2Count);
        for (uint256 i = found.count - start; i < size; ++i) {
            if (words[i] != 0) revert RoyaltySplitter_WordsBeyondCount(start + i);
        }
    }

    function _requireProofLength(bytes calldata proof, uint256 levels) private pure {
        uint256 expected = levels * NoteTree.ENTRY_BYTES;
        if (proof.length != expected) revert RoyaltySplitter_BadProofLength(proof.length, expected);
    }

    /// @dev Root and total must both match: the total is what was funded.
    function _requireRoot(
        Tree memory found,
        uint64 treeId,
        bytes32 hash,
        uint256 sum,
        uint256 index,
        bytes calldata proof
    ) private pure {
        (hash, sum) = NoteTree.foldProof(hash, sum, index, proof);
        if (hash != found.root || sum != found.total) revert RoyaltySplitter_ProofMismatch(treeId, hash, sum);
    }
}
