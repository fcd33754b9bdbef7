"""Hand-computed cases, a brute-force bootstrap, and coverage on known distributions."""

import itertools
import math

import numpy as np
import pytest

from deploykit.bench.statistics import (
    STUDENT_975,
    Interval,
    Ratio,
    TimedBlock,
    latency,
    median_interval,
    percentile,
    ratio,
    ratios_to_first,
)


def blocks(rounds, scale=1_000_000):
    """One block a round; the first run of each, flagged, is absurdly slow."""
    return [TimedBlock(k, (10**12, *(round(value * scale) for value in values))) for k, values in enumerate(rounds)]


@pytest.mark.parametrize(
    ("q", "expected"), [(0, 15), (5, 15), (20, 15), (21, 20), (30, 20), (40, 20), (50, 35), (100, 50)]
)
def test_percentile_is_the_nearest_rank(q, expected):
    assert percentile(np.array([15, 20, 35, 40, 50]), q) == expected


def test_the_first_run_of_each_block_is_left_out_and_counted():
    found = latency(blocks([[1, 2, 3], [4, 5, 6]]), seed=0)
    assert (found.median, found.n, found.flagged) == (3.5, 6, 2)


@pytest.mark.parametrize(("q", "floor"), [(90, 64), (95, 150), (99, 662)])
def test_a_percentile_is_withheld_below_its_floor(q, floor):
    values = list(range(1, floor + 1))
    assert getattr(latency(blocks([values[:-1]]), seed=0), f"p{q}") is None
    expected = -(-q * floor // 100)  # the smallest rank that covers q percent of 1..floor
    assert getattr(latency(blocks([values]), seed=0), f"p{q}") == expected


def test_outliers_are_counted_and_kept():
    values = [10.0, 11, 12, 13, 14, 15, 16, 17]  # with one more: quartiles 12 and 16, the fence at 28
    assert latency(blocks([[*values, 28.0]]), seed=0).outliers == 0
    found = latency(blocks([[*values, 28.1]]), seed=0)
    assert (found.outliers, found.n) == (1, 9)


def test_no_interval_below_six_rounds():
    assert latency(blocks([[1, 2]] * 5), seed=0).ci95 is None
    assert latency(blocks([[1, 2]] * 6), seed=0).ci95 == Interval(1.5, 1.5)


def test_the_interval_is_that_of_a_plain_bootstrap_over_rounds():
    random = np.random.default_rng(3)
    rounds = [random.normal(10 + k % 3, 1, size) for k, size in enumerate([3, 1, 4, 2, 5, 3, 2])]
    draws = np.random.default_rng(11)
    medians = [np.median(np.concatenate([rounds[k] for k in draws.integers(0, 7, 6)])) for _ in range(2000)]
    ordered = np.sort(medians)
    found = median_interval(rounds, seed=11)
    assert (found.low, found.high) == (ordered[49], ordered[1949])


def test_six_single_rounds_match_the_exact_bootstrap_distribution():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    exact = np.sort([np.median(draw) for draw in itertools.product(values, repeat=5)])
    found = median_interval(np.split(values, 6), seed=0)
    assert (found.low, found.high) == (percentile(exact, 2.5), percentile(exact, 97.5))


def test_the_same_seed_gives_the_same_interval():
    rounds = np.split(np.random.default_rng(0).exponential(1, 40), 8)
    assert median_interval(rounds, seed=5) == median_interval(rounds, seed=5)


def test_a_round_and_not_a_sample_is_the_unit():
    """Samples that only repeat their round's value carry no more than the round: the interval must not shrink."""
    values = np.random.default_rng(1).normal(100, 5, 10)
    lone = median_interval(np.split(values, 10), seed=2)
    repeated = median_interval([np.repeat(value, 50) for value in values], seed=2)
    assert (repeated.low, repeated.high) == (lone.low, lone.high)


@pytest.mark.parametrize("count", [6, 8, 20])
def test_nineteen_of_twenty_intervals_hold_the_true_median(count):
    random = np.random.default_rng(7)
    held = sum(
        median_interval(np.split(random.lognormal(0, 0.3, count), count), seed=trial).covers(1.0)
        for trial in range(400)
    )
    assert 362 <= held <= 395  # 95 % of 400 is 380, standard deviation 4.4


def test_paired_ratios_do_not_see_drift_between_rounds():
    drift = np.linspace(1, 3, 12)[:, None]
    noise = np.random.default_rng(0).normal(1, 0.001, (2, 12, 5))
    first, other = blocks(40 * drift * noise[0]), blocks(20 * drift * noise[1])
    found = ratio(other, first, seed=0)
    assert found.value == pytest.approx(0.5, rel=1e-3)
    assert found.ci95.half_width(found.value) < 2e-3
    assert latency(other, seed=0).ci95.half_width(40) > 0.1
    assert found.rounds == 12


def test_equal_rows_are_within_noise_and_unequal_ones_are_not():
    random = np.random.default_rng(4)
    verdicts = {scale: [] for scale in (10, 12)}
    for scale, seen in verdicts.items():
        for _ in range(60):
            first, other = blocks(random.normal(10, 0.5, (12, 5))), blocks(random.normal(scale, 0.5, (12, 5)))
            seen.append(ratio(other, first, seed=0).within_noise)
    assert sum(verdicts[10]) >= 52  # 95 % of 60 is 57, standard deviation 1.7
    assert not any(verdicts[12])


def test_without_an_interval_noise_is_not_judged():
    assert Ratio(1.0, None, 3).within_noise is None


def test_only_rounds_that_both_rows_have_are_paired():
    first = blocks([[1], [1], [1], [1]])
    found = ratio(blocks([[2], [2]]), first, seed=0)
    assert (found.value, found.ci95, found.rounds) == (2.0, None, 2)
    assert ratio([], first, seed=0) is None


def test_both_blocks_of_a_round_count_as_one():
    twice = [TimedBlock(0, (9, 10, 10)), TimedBlock(0, (9, 30, 30))]
    assert ratio(twice, [TimedBlock(0, (9, 10))], seed=0).value == 2.0


def test_the_first_row_with_samples_is_the_one_compared_with():
    rows = [[], blocks([[2.0]] * 6), blocks([[1.0]] * 6)]
    absent, first, other = ratios_to_first(rows, seed=0)
    assert absent is None
    assert (first.value, first.ci95) == (1.0, Interval(1.0, 1.0))
    assert other.value == 0.5


def test_device_time_is_a_clock_of_its_own():
    rows = [TimedBlock(k, (9, 2_000_000), (9, 1_000_000)) for k in range(6)]
    assert latency(rows, seed=0).median == 2.0
    assert latency(rows, seed=0, device=True).median == 1.0
    assert latency(blocks([[1]]), seed=0, device=True) is None


def test_the_only_run_of_a_block_counts():
    found = latency([TimedBlock(0, (3_000_000,)), TimedBlock(1, (9_000_000, 5_000_000))], seed=0)
    assert (found.n, found.flagged, found.median) == (2, 1, 4.0)


def in_processes(*values):
    """Blocks of a row whose processes each have rounds of these milliseconds."""
    numbered = [(process, value) for process, part in enumerate(values) for value in part]
    return [
        TimedBlock(k, (10**12, *[round(value * 1e6)] * 5), process=process)
        for k, (process, value) in enumerate(numbered)
    ]


def test_of_several_processes_the_interval_is_students_on_their_medians():
    medians = np.array([10.0, 10.2, 10.3])
    found = latency(in_processes(*([value] * 4 for value in medians)), seed=0)
    half = 4.302653 * np.log(medians).std(ddof=1) / np.sqrt(3)
    center = np.exp(np.log(medians).mean())
    assert (found.median, found.processes) == (pytest.approx(center), 3)
    assert found.ci95 == pytest.approx((center * np.exp(-half), center * np.exp(half)), rel=1e-5)


def test_students_factors():
    for freedom, expected in enumerate(STUDENT_975, start=1):
        grid = np.linspace(0, expected, 200_001)
        density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
        scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
        assert scale * np.trapezoid(density, grid) == pytest.approx(0.475, abs=1e-5)


def test_processes_that_agree_by_chance_are_no_surer_than_their_rounds():
    rounds = np.random.default_rng(2).normal(10, 0.5, 8)
    found = latency(in_processes(*[rounds] * 3), seed=0).ci95
    alone = median_interval([np.repeat(value, 5) for value in np.tile(np.round(rounds, 6), 3)], seed=0)
    assert np.log(found.high / found.low) == pytest.approx(np.log(alone.high / alone.low), rel=1e-3)


def test_a_row_that_stays_in_one_process_has_the_interval_of_its_rounds():
    restarted, lasting = in_processes([1.0] * 4, [1.0] * 4), in_processes([2.0, 2.1] * 4)
    for found in (ratio(lasting, restarted, seed=0), ratio(restarted, lasting, seed=0)):
        assert (found.processes, found.rounds) == (1, 8)
        assert found.ci95 is not None
    assert ratio(lasting, restarted, seed=0).value == pytest.approx(2.05)


def test_ratios_are_paired_by_round_and_their_medians_by_process():
    drift = np.linspace(1, 3, 12)
    first = in_processes(*np.split(10 * drift, 3))
    other = in_processes(
        *(part * factor for part, factor in zip(np.split(10 * drift, 3), (1.19, 1.20, 1.21), strict=True))
    )
    found = ratio(other, first, seed=0)
    assert found.value == pytest.approx((1.19 * 1.20 * 1.21) ** (1 / 3))
    assert (found.rounds, found.processes) == (12, 3)
    assert not found.within_noise


@pytest.mark.parametrize("between", [0.0, 0.01, 0.03])
def test_nineteen_of_twenty_intervals_hold_the_true_ratio_however_far_processes_lie_apart(between):
    random, held = np.random.default_rng(8), 0
    for trial in range(200):
        rows = [
            in_processes(*(10 * np.exp(random.normal(0, between) + random.normal(0, 0.01, 6)) for _ in range(3)))
            for _ in range(2)
        ]
        held += ratio(*rows, seed=trial).within_noise
    assert held >= 182  # 95 % of 200 is 190, standard deviation 3.1
