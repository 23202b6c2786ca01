// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {MoneyMath} from "contracts/libraries/MoneyMath.sol";
import {SplitAccount} from "contracts/types/License.sol";

/// @notice Proven for all values of the types, not for samples.
contract MoneyProof {
    /// Drawing no more than what is due never brings a license above units × price.
    function check_inv_12_charges_never_exceed_units_times_price(
        uint128 units,
        uint96 price,
        uint96 charged,
        uint96 charge
    ) external pure {
        uint256 owed = MoneyMath.mulDivDown(units, price, MoneyMath.UNITS_PER_PRICE);
        if (charged > owed || charge > MoneyMath.due(units, price, charged)) return;
        assert(uint256(charged) + charge <= owed);
    }

    /// More units never make less due, so a report that counts later cannot undo a charge.
    function check_inv_14_due_grows_with_units(uint128 fewer, uint128 more, uint96 price, uint96 charged)
        external
        pure
    {
        if (fewer > more) return;
        assert(MoneyMath.due(fewer, price, charged) <= MoneyMath.due(more, price, charged));
    }

    /// A share that rounds down never shrinks while the total grows.
    function check_inv_01_share_rounded_down_never_shrinks(uint96 smaller, uint96 larger, uint16 bps) external pure {
        if (smaller > larger) return;
        assert(MoneyMath.mulDivDown(smaller, bps, MoneyMath.BPS) <= MoneyMath.mulDivDown(larger, bps, MoneyMath.BPS));
    }

    /// What rounds up is the least whole number that is not below the exact share; `product` is total × bps.
    function check_inv_01_rounding_up_is_exact(uint128 product) external pure {
        uint256 share = MoneyMath.mulDivUp(product, 1, MoneyMath.BPS);
        assert(share * MoneyMath.BPS >= product);
        assert(share * MoneyMath.BPS < uint256(product) + MoneyMath.BPS);
    }

    /// With the proof above: a larger product never gives a smaller share, so shares that round up never shrink.
    function check_inv_01_rounding_up_keeps_order(uint128 smaller, uint128 larger, uint128 up, uint128 upLarger)
        external
        pure
    {
        if (smaller > larger) return;
        if (uint256(up) * MoneyMath.BPS >= uint256(smaller) + MoneyMath.BPS) return;
        if (uint256(upLarger) * MoneyMath.BPS < larger) return;
        assert(up <= upLarger);
    }

    /// All five shares of a total come to at most the total, and to no less than it minus 3.
    function check_inv_01_split_conserves(
        uint96 charged,
        uint16 community,
        uint16 steward,
        uint16 platform,
        uint16 operators
    ) external pure {
        uint256 others = uint256(community) + steward + platform + operators;
        if (others > MoneyMath.BPS) return;
        uint256 sum = MoneyMath.mulDivUp(charged, MoneyMath.BPS - others, MoneyMath.BPS)
            + MoneyMath.mulDivDown(charged, community, MoneyMath.BPS)
            + MoneyMath.mulDivDown(charged, steward, MoneyMath.BPS)
            + MoneyMath.mulDivDown(charged, platform, MoneyMath.BPS)
            + MoneyMath.mulDivDown(charged, operators, MoneyMath.BPS);
        assert(sum <= charged);
        assert(sum + 3 >= charged);
    }

    /// `split` gives the growth of exactly these shares.
    function check_inv_01_split_is_growth(uint96 before_, uint96 after_, uint16 contributors, uint16 steward)
        external
        pure
    {
        if (uint256(contributors) + steward > MoneyMath.BPS || before_ > after_) return;
        SplitAccount memory account = SplitAccount(before_, contributors, 0, steward, 0, 0);
        MoneyMath.Split memory growth = MoneyMath.split(account, after_);
        assert(
            MoneyMath.mulDivUp(before_, contributors, MoneyMath.BPS) + growth.contributors
                == MoneyMath.mulDivUp(after_, contributors, MoneyMath.BPS)
        );
        assert(
            MoneyMath.mulDivDown(before_, steward, MoneyMath.BPS) + growth.steward
                == MoneyMath.mulDivDown(after_, steward, MoneyMath.BPS)
        );
    }
}
