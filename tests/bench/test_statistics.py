"""Hand-computed cases, a brute-force bootstrap, and coverage on known distributions."""

import itertools

import numpy as np
import pytest

from deploykit.bench.statistics import (
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
