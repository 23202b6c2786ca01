// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

import {MoneyMath} from "../libraries/MoneyMath.sol";
import {LicensePricing, SplitAccount} from "../types/License.sol";

/// @title MoneyMath with a door, so that tests can compare it with Python. Test only.
contract MoneyMathHarness {
    function mulDivDown(uint256 a, uint256 b, uint256 divisor) external pure returns (uint256) {
        return MoneyMath.mulDivDown(a, b, divisor);
    }

    function mulDivUp(uint256 a, uint256 b, uint256 divisor) external pure returns (uint256) {
        return MoneyMath.mulDivUp(a, b, divisor);
    }

    function due(uint128 cumulativeUnits, uint96 pricePerMillionUnits, uint96 charged)
        external
        pure
        returns (uint256)
    {
        return MoneyMath.due(cumulativeUnits, pricePerMillionUnits, charged);
    }

    function split(uint96 chargedBefore, uint96 chargedAfter, LicensePricing calldata pricing)
        external
        pure
        returns (MoneyMath.Split memory)
    {
        SplitAccount memory before = MoneyMath.open(pricing);
        before.charged = chargedBefore;
        return MoneyMath.split(before, chargedAfter);
    }
}
