// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {LicensePricing, SplitAccount} from "../types/License.sol";

/// @title Money arithmetic
/// @notice Charges and splits are functions of cumulative totals, so rounding never builds up and usage counted an
/// epoch late changes no total. Operands are at most uint128 and uint96: no product reaches 2**256.
library MoneyMath {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant UNITS_PER_PRICE = 1e6;

    /// @notice What each party has earned from a total, or what a charge adds to it, in base units.
    struct Split {
        uint256 contributors;
        uint256 community;
        uint256 steward;
        uint256 platform;
        uint256 operators;
    }

    function mulDivDown(uint256 a, uint256 b, uint256 divisor) internal pure returns (uint256) {
        return (a * b) / divisor;
    }

    function mulDivUp(uint256 a, uint256 b, uint256 divisor) internal pure returns (uint256) {
        return (a * b + (divisor - 1)) / divisor;
    }

    /// @notice What a license owes and has not been charged. Zero, never a revert, if more was charged.
    function due(uint256 cumulativeUnits, uint256 pricePerMillionUnits, uint256 charged)
        internal
        pure
        returns (uint256)
    {
        uint256 owed = mulDivDown(cumulativeUnits, pricePerMillionUnits, UNITS_PER_PRICE);
        return owed > charged ? owed - charged : 0;
    }

    /// @notice The account of a license that was never charged.
    function open(LicensePricing memory pricing) internal pure returns (SplitAccount memory) {
        return SplitAccount({
            charged: 0,
            contributorsBps: contributorsBps(pricing),
            communityBps: pricing.communityBps,
            stewardBps: pricing.stewardBps,
            platformBps: pricing.platformBps,
            operatorsBps: pricing.operatorsBps
        });
    }

    /// @notice What raising a license's total charge to `chargedAfter` adds to each party.
    ///
    /// The contributors' cumulative share rounds up and the others' down: a plain remainder would be negative when
    /// several floors step at once. What no share reaches, 0 to 3 base units per license for all time, is dust.
    function split(SplitAccount memory before, uint96 chargedAfter) internal pure returns (Split memory) {
        uint256 charged = before.charged;
        return Split({
            contributors: growthUp(charged, chargedAfter, before.contributorsBps),
            community: growthDown(charged, chargedAfter, before.communityBps),
            steward: growthDown(charged, chargedAfter, before.stewardBps),
            platform: growthDown(charged, chargedAfter, before.platformBps),
            operators: growthDown(charged, chargedAfter, before.operatorsBps)
        });
    }

    /// @notice Growth of a cumulative share that rounds up: the contributors'.
    function growthUp(uint256 chargedBefore, uint256 chargedAfter, uint256 bps) internal pure returns (uint256) {
        return mulDivUp(chargedAfter, bps, BPS) - mulDivUp(chargedBefore, bps, BPS);
    }

    /// @notice Growth of a cumulative share that rounds down: everybody else's.
    function growthDown(uint256 chargedBefore, uint256 chargedAfter, uint256 bps) internal pure returns (uint256) {
        return mulDivDown(chargedAfter, bps, BPS) - mulDivDown(chargedBefore, bps, BPS);
    }

    /// @notice What the other parties leave; the registry refuses terms that would make it negative.
    function contributorsBps(LicensePricing memory pricing) internal pure returns (uint16) {
        return uint16(BPS) - pricing.communityBps - pricing.stewardBps - pricing.platformBps - pricing.operatorsBps;
    }
}
