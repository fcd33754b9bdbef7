"""Which candidate `--int8-policy plan` takes."""

import pytest

from deploykit.tuning.cost import PlanCost
from deploykit.tuning.int8_layers import least_cost

MB = 1_000_000


@pytest.mark.parametrize(
    ("costs", "chosen"),
    [
        ([PlanCost(57, 562 * MB), PlanCost(91, 379 * MB)], 1),
        ([PlanCost(55, 381 * MB), PlanCost(56, 380 * MB)], 0),
        ([PlanCost(55, 385 * MB), PlanCost(56, 380 * MB)], 1),
        ([PlanCost(56, 381 * MB), PlanCost(56, 380 * MB)], 1),
        ([PlanCost(10, 90 * MB, 20.0), PlanCost(20, 95 * MB, 15.0)], 1),
    ],
    ids=["fewest bytes", "nearly as few, fewer kernels", "not nearly as few", "as many kernels", "roofline first"],
)
def test_of_nearly_equal_plans_the_one_with_fewest_kernels_is_taken(costs, chosen):
    named = {str(number): cost for number, cost in enumerate(costs)}
    assert least_cost(named) == str(chosen)
