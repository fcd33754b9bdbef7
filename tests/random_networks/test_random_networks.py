"""No random network ends in a traceback, or in a pass that an independent float64 run does not share."""

import check
import pytest

QUICK = (14, 101)  # seeds for `make test`
CHUNK, NETWORKS = 10, 200  # the rest goes by tens, so that `make test-full` resumes


@pytest.mark.parametrize("seed", QUICK)
def test_a_network_passes_rightly_or_not_at_all(seed, tmp_path):
    found = check.check(seed, tmp_path, backends="ort", precisions="fp32,int8")
    assert found.faults == (), found.said
    assert len(found.verdicts) == 2


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, NETWORKS, CHUNK))
def test_two_hundred_networks_pass_rightly_or_not_at_all(first, tmp_path):
    for seed in range(first, first + CHUNK):
        for found in check.check_all(seed, tmp_path / str(seed)):
            assert found.faults == (), f"seed {seed}: {found.said}"
