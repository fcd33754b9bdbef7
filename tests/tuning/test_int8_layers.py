"""Which candidate `--int8-policy plan` takes."""

import pytest

from deploykit.tuning.cost import PlanPrice
from deploykit.tuning.int8_layers import cheapest

MB = 1_000_000


@pytest.mark.parametrize(
    ("prices", "chosen"),
    [
        ([PlanPrice(57, 562 * MB), PlanPrice(91, 379 * MB)], 1),
        ([PlanPrice(55, 381 * MB), PlanPrice(56, 380 * MB)], 0),
        ([PlanPrice(55, 385 * MB), PlanPrice(56, 380 * MB)], 1),
        ([PlanPrice(56, 381 * MB), PlanPrice(56, 380 * MB)], 1),
        ([PlanPrice(10, 90 * MB, 20.0), PlanPrice(20, 95 * MB, 15.0)], 1),
    ],
    ids=["fewest bytes", "nearly as few, fewer kernels", "not nearly as few", "as many kernels", "roofline first"],
)
def test_of_nearly_equal_plans_the_one_with_fewest_kernels_is_taken(prices, chosen):
    named = {str(number): price for number, price in enumerate(prices)}
    assert cheapest(named) == str(chosen)
