// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ILicenseRegistry} from "./interfaces/ILicenseRegistry.sol";
import {IRoyaltySplitter} from "./interfaces/IRoyaltySplitter.sol";
import {MoneyMath} from "./libraries/MoneyMath.sol";
import {NoteProof} from "./libraries/NoteProof.sol";
import {NoteTree} from "./libraries/NoteTree.sol";
import {TokenTransfer} from "./libraries/TokenTransfer.sol";
import {Party, SplitAccount} from "./types/License.sol";
import {ReportLine} from "./types/Report.sol";
import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title RoyaltySplitter
/// @notice Holds everybody else's money until it is paid. Rules and guarantees: {IRoyaltySplitter}.
contract RoyaltySplitter is IRoyaltySplitter, AccessManaged, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant REDIRECT_TYPEHASH = keccak256(
        "NoteRedirect(uint64 treeId,uint32 index,address payee,uint96 amount,address to,uint64 deadline)"
    );
    /// @dev More than a transfer of any token worth listing takes. A caller who leaves too little on purpose can only
    /// make notes look refused, and these stay payable; this keeps it from happening by accident.
    uint256 private constant MIN_TRANSFER_GAS = 100_000;
    /// @dev What one payee of a range can burn at most; a claim of its own has no such bound.
    uint256 private constant MAX_TRANSFER_GAS = 300_000;
    /// @dev Seconds of five years of 365.25 days, and of 90 days.
    uint256 private constant REISSUE_AGE = 157_788_000;
    uint256 private constant REISSUE_NOTICE = 90 days;
    /// @dev What a re-issue adds to a tree's id. Epochs are uint32, so ids of different generations never meet; it is
    /// even, so a tree of reserve leaves stays one.
    uint64 private constant GENERATION = 1 << 40;

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
    uint256 public pool;
    /// @dev Terms never change, so they are copied at a license's first charge: a slot that each charge reads anyway.
    mapping(uint32 licenseId => SplitAccount) private _accounts;
    /// @dev Upfront fees, milestones and royalties: a total of its own, rounded on its own.
    mapping(uint32 licenseId => SplitAccount) private _incomes;
    /// @dev What a party has earned follows from what was charged; only what it took is kept.
    mapping(uint32 licenseId => mapping(Party => uint256)) private _taken;
    mapping(uint64 treeId => Tree) private _trees;
    mapping(uint64 treeId => Reissue) private _reissues;
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
        pool = poolAfter;
    }

    /// @inheritdoc IRoyaltySplitter
    function accrueIncome(uint32 licenseId, uint96 amount) external {
        if (msg.sender != fees) revert RoyaltySplitter_OnlyFees(msg.sender);
        if (amount == 0) revert RoyaltySplitter_ZeroAmount();
        SplitAccount memory account = _incomes[licenseId];
        if (account.charged == 0) account = MoneyMath.open(ILicenseRegistry(registry).pricing(licenseId));
        uint256 incomeAfter = uint256(account.charged) + amount;
        if (incomeAfter > type(uint96).max) revert RoyaltySplitter_IncomeTooLarge(licenseId, incomeAfter);
        MoneyMath.Split memory growth = MoneyMath.split(account, uint96(incomeAfter));
        account.charged = uint96(incomeAfter);
        _incomes[licenseId] = account;
        pool += growth.contributors;
        emit IncomeAccrued(
            licenseId,
            uint96(growth.contributors),
            uint96(growth.community),
            uint96(growth.steward),
            uint96(growth.platform),
            uint96(growth.operators)
        );
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
        _open(treeId, root, total, count);
        emit NotesIssued(treeId, root, total, count);
    }

    /// @inheritdoc IRoyaltySplitter
    function surrenderPool() external nonReentrant returns (uint256 amount) {
        if (msg.sender != windDown) revert RoyaltySplitter_OnlyWindDown(msg.sender);
        amount = pool;
        pool = 0;
        emit PoolSurrendered(amount);
        _sendOrRevert(windDown, amount);
    }

    /// @inheritdoc IRoyaltySplitter
    function scheduleReissue(uint64 treeId, bytes32 root, uint96 total, uint32 count) external restricted {
        Tree memory found = _existing(treeId);
        uint256 oldEnoughAt = uint256(found.issuedAt) + REISSUE_AGE;
        // A later tree's time of issue does not fit: it would look older than it is.
        if (block.timestamp < oldEnoughAt || block.timestamp > type(uint32).max) {
            revert RoyaltySplitter_TooYoung(treeId, oldEnoughAt, block.timestamp);
        }
        if (count == 0 || root == 0) revert RoyaltySplitter_BadEmptyTree(root, total, count);
        _requireAllUnpaid(found, treeId, total);
        uint48 executableAt = uint48(block.timestamp + REISSUE_NOTICE);
        _reissues[treeId] = Reissue({root: root, total: total, count: count, executableAt: executableAt});
        emit ReissueScheduled(treeId, root, total, count, executableAt);
    }

    /// @inheritdoc IRoyaltySplitter
    function executeReissue(uint64 treeId) external nonReentrant returns (uint64 newTreeId) {
        Reissue memory next = _reissues[treeId];
        if (next.count == 0) revert RoyaltySplitter_NothingScheduled(treeId);
        if (block.timestamp < next.executableAt) {
            revert RoyaltySplitter_NoticeRunning(treeId, next.executableAt, block.timestamp);
        }
        Tree memory found = _trees[treeId];
        _requireAllUnpaid(found, treeId, next.total);
        newTreeId = treeId + GENERATION;
        delete _reissues[treeId];
        _setPaid(found, treeId, found.total);
        _open(newTreeId, next.root, next.total, next.count);
        emit NotesReissued(treeId, newTreeId, next.root, next.total, next.count);
    }

    /// @inheritdoc IRoyaltySplitter
    function payRange(uint64 treeId, uint32 start, uint8 log2Count, uint256[] calldata words, bytes calldata proof)
        external
        nonReentrant
        returns (uint96 amount)
    {
        Tree memory found = _existing(treeId);
        NoteProof.requireRange(found, treeId, start, log2Count, words, proof);

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
    function claimMany(Claim[] calldata claims) external nonReentrant {
        for (uint256 i; i < claims.length; ++i) {
            Claim calldata one = claims[i];
            _pay(one.treeId, one.index, one.word, NoteTree.payee(one.word), one.proof);
        }
    }

    /// @inheritdoc IRoyaltySplitter
    function claimReserve(uint64 treeId, uint32 index, uint256 word, bytes32 salt, bytes calldata proof)
        external
        nonReentrant
    {
        if (treeId & 1 == 0) revert RoyaltySplitter_NotReserve(treeId);
        _payLeaf(treeId, index, word, NoteTree.reserveLeaf(word, salt), NoteTree.payee(word), proof);
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
    function rescue(address asset) external nonReentrant returns (uint256 amount) {
        if (asset == token) revert RoyaltySplitter_NotForRescue(asset);
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        amount = IERC20(asset).balanceOf(address(this));
        emit Rescued(asset, amount);
        IERC20(asset).safeTransfer(custodian, amount);
        // A second address of the settlement token is the settlement token.
        if (IERC20(token).balanceOf(address(this)) < balanceBefore) revert RoyaltySplitter_NotForRescue(asset);
    }

    /// @inheritdoc IRoyaltySplitter
    function shareEarned(uint32 licenseId, Party party) public view returns (uint256) {
        return _earned(_accounts[licenseId], party) + _earned(_incomes[licenseId], party);
    }

    /// @inheritdoc IRoyaltySplitter
    function shareCredit(uint32 licenseId, Party party) public view returns (uint96) {
        uint256 credit = shareEarned(licenseId, party) - _taken[licenseId][party];
        return credit < type(uint96).max ? uint96(credit) : type(uint96).max;
    }

    /// @inheritdoc IRoyaltySplitter
    function charged(uint32 licenseId) external view returns (uint96) {
        return _accounts[licenseId].charged;
    }

    /// @inheritdoc IRoyaltySplitter
    function income(uint32 licenseId) external view returns (uint96) {
        return _incomes[licenseId].charged;
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
    function reissue(uint64 treeId) external view returns (Reissue memory) {
        return _reissues[treeId];
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

    function _pay(uint64 treeId, uint32 index, uint256 word, address to, bytes calldata proof) private {
        _payLeaf(treeId, index, word, NoteTree.leaf(word), to, proof);
    }

    /// @dev The one way a single note is paid. Bit and total are written before the money moves.
    function _payLeaf(uint64 treeId, uint32 index, uint256 word, bytes32 leaf, address to, bytes calldata proof)
        private
    {
        Tree memory found = _existing(treeId);
        if (word == 0) revert RoyaltySplitter_ZeroWord(treeId, index);
        uint96 amount = NoteTree.amount(word);
        NoteProof.requireLeaf(found, treeId, index, leaf, amount, proof);

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
                    if (TokenTransfer.trySend(token, NoteTree.payee(word), NoteTree.amount(word), MAX_TRANSFER_GAS)) {
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
        if (paid > found.total) {
            // A re-issued tree counts as paid.
            if (_trees[treeId + GENERATION].count != 0) revert RoyaltySplitter_TreeReissued(treeId);
            // The bits alone should hold this. Should a proof ever not, the damage ends at this tree's own money.
            revert RoyaltySplitter_OverTotal(treeId, paid, found.total);
        }
        _setPaid(found, treeId, paid);
    }

    /// @dev A tree's second slot at once: the compiler would read it again to keep what shares it with `paid`.
    function _setPaid(Tree memory found, uint64 treeId, uint256 paid) private {
        Tree storage kept = _trees[treeId];
        uint256 packed = uint256(found.total) | paid << 96 | uint256(found.count) << 192 | uint256(found.issuedAt) << 224;
        assembly ("memory-safe") {
            sstore(add(kept.slot, 1), packed)
        }
    }

    function _open(uint64 treeId, bytes32 root, uint96 total, uint32 count) private {
        _trees[treeId] = Tree({root: root, total: total, paid: 0, count: count, issuedAt: uint32(block.timestamp)});
    }

    function _sendOrRevert(address to, uint256 amount) private {
        if (!TokenTransfer.trySend(token, to, amount, gasleft())) revert RoyaltySplitter_TransferFailed(to, amount);
    }

    function _existing(uint64 treeId) private view returns (Tree memory found) {
        found = _trees[treeId];
        if (found.count == 0) revert RoyaltySplitter_UnknownTree(treeId);
    }

    function _earned(SplitAccount memory account, Party party) private pure returns (uint256) {
        return MoneyMath.mulDivDown(account.charged, _bpsOf(account, party), MoneyMath.BPS);
    }

    /// @dev A re-issue moves all that is left of a tree: what it left out would belong to nobody.
    function _requireAllUnpaid(Tree memory found, uint64 treeId, uint96 total) private pure {
        uint96 unpaid = found.total - found.paid;
        if (total == 0 || total != unpaid) revert RoyaltySplitter_NotAllUnpaid(treeId, total, unpaid);
    }

    function _bpsOf(SplitAccount memory account, Party party) private pure returns (uint256) {
        if (party == Party.Community) return account.communityBps;
        if (party == Party.Steward) return account.stewardBps;
        if (party == Party.Platform) return account.platformBps;
        return account.operatorsBps;
    }
}
