// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {ICommitReveal} from "./ICommitReveal.sol";
import {Contradiction, LaneHead, SignedAck, SignedCheckpoint, SignedReceipt} from "../types/Receipt.sol";
import {EpochReport} from "../types/Report.sol";

/// @title Proofs that a buyer's gateway cheated
/// @notice Whoever holds what a lane signed can show that it hid or changed usage; the buyer's bond pays.
///
/// | challenge | what shows it | what answers it |
/// |---|---|---|
/// | contradiction | two receipts of one seq; two checkpoints of one count, or fewer units under the higher count, or other receipts under both; cumulative units that fall short of a receipt's | nothing |
/// | future-dated | a receipt dated more than an hour after the block that shows it | nothing |
/// | beyond count | a receipt, old enough, that a finalized report does not count | an anchor in time (then it cannot even be opened), or f + 1 acknowledgements |
/// | swapped | a receipt and a checkpoint that covers its number | proof that the checkpoint includes it |
///
/// A lane is slashed once, for a fixed part of the bond that the license agreed on, and revoked: so a stolen key costs
/// one lane's slash. What a revoked lane signs afterwards brings no second one: its receipts prove nothing to a caller,
/// who can see that it is revoked, and its steward can end the license. A tenth at most goes to the challenger: so
/// challenging oneself loses nine tenths (a buyer that cheats can keep that tenth by being first). Challenges open until
/// 90 days after the license's end, and the bond stays longer ({ILicenseBonds}). All are committed to first
/// ({ICommitReveal}). The two that can be answered cost a bond, which goes to whoever answers.
///
/// **An honest buyer** is one whose gateway, for every lane,
/// 1. signs nothing before the lane is registered, nothing past its unit cap, and nothing dated more than an hour ahead
///    of chain time;
/// 2. signs one receipt per seq, from 0 without gaps, with exact units and times that never fall, keeps it durably
///    before the response leaves, and starts a new lane when in doubt about what the old one signed;
/// 3. signs checkpoints only of prefixes of these receipts;
/// 4. at most maxMergeDelaySeconds after a receipt's time holds a checkpoint that covers it and that is anchored, or
///    that f + 1 signers have acknowledged as received by then. An HTTP answer is no acknowledgement. Acknowledgements of
///    signers who do not govern the report in question answer nothing: once a rotation is announced the gateway anchors
///    what only the old signers have acknowledged, before the first period of the new ones ends;
/// 5. keeps receipts, checkpoints and acknowledgements until 90 days after the license's end;
/// 6. answers a challenge of kind swapped or beyond count within answerSeconds. Anyone who holds the same can do it in
///    its place, and earns the challenger's bond.
///
/// Safety: an honest buyer is never slashed, whoever challenges, whatever reports say, and whatever all signers sign. A
/// signer is slashed here only if it acknowledged a checkpoint by a period's end and signed a lower count for that
/// period, of a lane that was never proven to cheat. Nothing here touches a report or anyone's escrow balance.
/// Liveness: nobody's permission is needed for anything. An open challenge holds back withdrawals of escrow and bond
/// until it is answered or answerSeconds have passed; each costs its challenger a bond or its lane a slash, and none
/// opens after the evidence horizon.
interface IUsageChallenges is ICommitReveal {
    enum Kind {
        None,
        BeyondCount,
        Swapped
    }

    /// @param laneSlashBps Part of the agreed bond that one lane's proof takes.
    /// @param answerSeconds Time to answer; also the time for signers to show that a lane contradicted itself.
    /// @param challengeBond Base units; at least three times what an answer costs.
    struct Settings {
        uint16 laneSlashBps;
        uint32 answerSeconds;
        uint96 challengeBond;
    }

    /// @notice A challenge that waits for its answer.
    /// @param epoch Beyond count: the finalized report that does not count the receipt.
    /// @param count Swapped: receipts that the checkpoint covers.
    /// @param receiptHash Swapped: struct hash of the receipt.
    struct Challenge {
        address challenger;
        uint48 answerableUntil;
        uint32 laneNumber;
        Kind kind;
        uint64 seq;
        uint64 epoch;
        uint64 periodEnd;
        uint32 signerSetVersion;
        uint64 count;
        bytes32 receiptHash;
        bytes32 receiptsRoot;
    }

    /// @notice What is left of a challenge that acknowledgements answered: signers acknowledged what a report of
    /// theirs may not count.
    struct Accusation {
        address challenger;
        uint48 slashableFrom;
        uint32 laneNumber;
        uint64 epoch;
        bytes32 ackersHash;
    }

    event LaneSlashed(
        uint32 indexed licenseId, uint32 indexed laneNumber, address indexed challenger, uint96 slashed
    );
    event ChallengeOpened(
        uint256 indexed challengeId,
        uint32 indexed licenseId,
        uint32 indexed laneNumber,
        Kind kind,
        uint64 seq,
        uint64 epoch,
        address challenger,
        uint256 answerableUntil
    );
    event ChallengeAnswered(uint256 indexed challengeId, address indexed answerer);
    event ChallengeUpheld(uint256 indexed challengeId);
    event SignersAccused(
        uint256 indexed challengeId, uint64 indexed epoch, address[] ackers, uint256 slashableFrom
    );
    event AckerSlashed(uint256 indexed challengeId, address indexed signer, uint96 slashed);
    event CreditPaid(address indexed account, address indexed to, uint256 amount);

    error UsageChallenges_ZeroAddress(string what);
    error UsageChallenges_WrongToken(address given, address expected);
    error UsageChallenges_Miswired(string what, address found, address expected);
    error UsageChallenges_WrongMergeDelay(uint32 given, uint32 expected);
    error UsageChallenges_BadSettings(Settings settings);
    error UsageChallenges_UnknownLane(address lane);
    error UsageChallenges_PastHorizon(uint32 licenseId, uint256 until, uint256 nowSeconds);
    error UsageChallenges_AlreadySlashed(uint32 laneNumber);
    error UsageChallenges_NotInFuture(uint64 issuedAtMs, uint256 fromMs);
    error UsageChallenges_NotMergeable(uint256 mergedByMs, uint256 periodEndMs);
    error UsageChallenges_Counted(uint64 seq, uint64 count);
    error UsageChallenges_Anchored(uint64 seq, uint64 count);
    error UsageChallenges_NotCovered(uint64 seq, uint64 count);
    error UsageChallenges_WrongDelta(uint256 expected, uint256 received);
    error UsageChallenges_WrongKind(uint256 challengeId, Kind kind);
    error UsageChallenges_WrongLane(address expected, address given);
    error UsageChallenges_StillAnswerable(uint256 answerableUntil, uint256 nowSeconds);
    error UsageChallenges_NotAccused(uint256 challengeId);
    error UsageChallenges_WrongAckers(bytes32 given, bytes32 expected);
    error UsageChallenges_WrongEpoch(uint64 given, uint64 expected);
    error UsageChallenges_NotSlashableYet(uint256 slashableFrom, uint256 nowSeconds);
    error UsageChallenges_LaneCheated(uint32 laneNumber, uint48 revokedAt);
    error UsageChallenges_ZeroRecipient();
    error UsageChallenges_NoCredit(address account);

    /// @notice What a lane signed contradicts itself.
    function challengeContradiction(Contradiction calldata shown, bytes32 salt) external returns (uint96 slashed);

    /// @notice A receipt dated more than an hour after this block.
    function challengeFutureDate(SignedReceipt calldata signed, bytes32 salt) external returns (uint96 slashed);

    /// @notice A receipt that should have been merged by the period end of a finalized report, which does not count
    /// it. Costs the challenge bond.
    function openBeyondCount(
        SignedReceipt calldata signed,
        EpochReport calldata report,
        LaneHead calldata head,
        bytes32 salt
    ) external returns (uint256 challengeId);

    /// @notice A receipt whose number a checkpoint of its lane covers, but which its tree may not hold. Costs the
    /// challenge bond.
    function openSwapped(SignedReceipt calldata signed, SignedCheckpoint calldata covering, bytes32 salt)
        external
        returns (uint256 challengeId);

    /// @notice Answer beyond count: f + 1 signers of the report's version acknowledged, by its period end, a checkpoint
    /// that covers the receipt. The sender gets the challenge bond; signers who acknowledged are accused.
    /// @param acks In ascending order of their signers' addresses.
    function answerByAcks(uint256 challengeId, SignedCheckpoint calldata covering, SignedAck[] calldata acks) external;

    /// @notice Answer swapped: the receipt is leaf number seq under the checkpoint. The sender gets the challenge bond.
    function answerByInclusion(uint256 challengeId, bytes32[] calldata proof) external;

    /// @notice Uphold a challenge that nobody answered in time: its lane is slashed if it was not before, and its
    /// challenger gets the bond back. An answer counts until somebody calls this.
    function uphold(uint256 challengeId) external;

    /// @notice Slash those accused signers who also signed the report. Anyone may, repeatedly with other signatures.
    /// Not while signers can still show that the lane contradicted itself, and never if it was proven to cheat.
    /// @param report The finalized report of the challenge.
    /// @param signatures As submitted for it, or more; see IOracleCommittee.requireQuorum.
    /// @param ackers As in SignersAccused.
    function slashAckers(
        uint256 challengeId,
        EpochReport calldata report,
        bytes calldata signatures,
        address[] calldata ackers
    ) external;

    /// @notice Revoke a lane by its contradiction, without slash and reward: for accused signers, who would have to
    /// count what the lane contradicted, and for buyers whose key was stolen. Slashing it afterwards stays possible.
    function revokeByContradiction(Contradiction calldata shown) external;

    /// @notice Take one's own challenge bonds, back or earned, to any address.
    function withdrawCredit(address to) external;

    /// @notice Challenges against a license that are not settled yet. While there is one, neither bond nor escrow
    /// balance can be withdrawn.
    function openAgainst(uint32 licenseId) external view returns (uint256);
    /// @notice All zero once settled.
    function challenge(uint256 challengeId) external view returns (Challenge memory);
    function accusation(uint256 challengeId) external view returns (Accusation memory);
    /// @notice Challenges count from 1.
    function challengeCount() external view returns (uint256);
    function laneSlashed(uint32 laneNumber) external view returns (bool);
    function ackerSlashed(uint256 challengeId, address signer) external view returns (bool);
    function credit(address account) external view returns (uint256);

    function laneSlashBps() external view returns (uint16);
    function answerSeconds() external view returns (uint32);
    function challengeBond() external view returns (uint96);
    function maxMergeDelaySeconds() external view returns (uint32);
    function evidenceHorizonSeconds() external view returns (uint256);
    function token() external view returns (address);
    function settlement() external view returns (address);
    function registry() external view returns (address);
    function anchors() external view returns (address);
    function licenseBonds() external view returns (address);
    function operatorBonds() external view returns (address);
}
