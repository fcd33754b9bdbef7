"""Each gate and each limit, by planting exactly one fault."""

import numpy as np
import pytest

from deploykit.codec import encode
from deploykit.parity import Kind, Limits, Reference, closeness_db, judge, too_weak
from deploykit.spec import Precision

RNG = np.random.default_rng(7)
EXACT = RNG.normal(size=(6, 10))
NOISE = RNG.normal(size=EXACT.shape)
NOISE *= np.linalg.norm(EXACT) / np.linalg.norm(NOISE)  # |NOISE| = |EXACT|: a factor is a relative L2
FLOOR = 1e-6


def reference(exact=EXACT):
    return Reference({"logits": exact}, {"logits": exact * (1 + FLOOR)}, "test")


def verdict(*, engine, literal=None, precision=Precision.FP32, exact=EXACT, **limits):
    literal = None if literal is None else {"logits": literal}
    return judge(
        {"logits": engine}, literal, reference(exact), Limits(precision, **{"random_weights": False, **limits})
    )


@pytest.mark.parametrize(
    ("precision", "loss", "expected"),
    [
        (Precision.FP32, 2.9 * FLOOR, "pass"),
        (Precision.FP32, 3.1 * FLOOR, "fail"),
        (Precision.FP16, 10 ** (-30.1 / 20), "pass"),
        (Precision.FP16, 10 ** (-29.9 / 20), "fail"),
        (Precision.INT8, 10 ** (-20.1 / 20), "pass"),
        (Precision.INT8, 10 ** (-19.9 / 20), "fail"),
    ],
)
def test_precision_loss_is_held_to_its_limit(precision, loss, expected):
    typed = EXACT + loss * NOISE
    assert verdict(engine=typed, literal=typed, precision=precision).verdict == expected


def test_a_failure_names_the_output_and_both_figures():
    typed = EXACT * 1.5
    worst = verdict(engine=typed, literal=typed, precision=Precision.INT8).worst
    assert "logits: typed graph against float64: SQNR 6.0 dB (0.5 relative L2), limit: at least 20 dB" in worst.reason
    assert "at least 20 dB" in worst.reason


def test_backend_loss_is_judged_apart_from_precision_loss():
    typed = EXACT + 0.01 * NOISE
    other = np.roll(NOISE, 1, axis=0)
    assert verdict(engine=typed + 0.019 * other, literal=typed, precision=Precision.FP16).verdict == "pass"
    worst = verdict(engine=typed + 0.021 * other, literal=typed, precision=Precision.FP16).worst
    assert worst.verdict == "fail"
    assert "the engine differs from its typed graph" in worst.reason
    assert worst.precision_loss.relative_l2 == pytest.approx(0.01, rel=1e-6)


def test_an_fp32_engine_that_is_right_is_no_fault_however_exact_its_typed_graph():
    typed = EXACT + 0.1 * FLOOR * NOISE
    assert verdict(engine=EXACT - 2.9 * FLOOR * NOISE, literal=typed).verdict == "pass"
    worst = verdict(engine=EXACT - 3.1 * FLOOR * NOISE, literal=typed).worst
    assert worst.verdict == "fail"
    assert "the engine differs from its typed graph" in worst.reason


def test_a_row_without_typed_graph_is_held_to_float64():
    assert verdict(engine=EXACT * (1 + FLOOR)).verdict == "pass"
    assert verdict(engine=EXACT * (1 + 4 * FLOOR)).verdict == "fail"


def test_random_weights_are_held_to_the_baseline():
    typed = EXACT + 10 ** (-14.5 / 20) * NOISE
    limits = {"precision": Precision.INT8, "random_weights": True}
    assert verdict(engine=typed, literal=typed, baseline_db=15.0, **limits).verdict == "pass"
    assert verdict(engine=typed, literal=typed, baseline_db=16.0, **limits).verdict == "fail"
    assert verdict(engine=typed, literal=typed, **limits).verdict == "fail"  # no baseline: 20 dB


@pytest.mark.parametrize(
    ("error", "limit", "expected"),
    [
        (np.where(np.arange(len(EXACT)) % 2, 0.1, 0.01)[:, None], " - 1.0 dB (uncertainty over the images)", "pass"),
        (0.08, "quantize_static (21.5 dB) - 1 dB", "fail"),
    ],
    ids=["better on half of the images", "better on each alike"],
)
def test_few_images_leave_it_open_how_two_quantizers_compare(error, limit, expected):
    typed = {"logits": EXACT + 0.1 * NOISE}  # 20 dB
    baseline = {"logits": EXACT + error * NOISE}
    limits = Limits(Precision.INT8, random_weights=True, baseline=baseline, baseline_db=21.5)
    result = judge(typed, typed, reference(), limits)
    assert result.verdict == expected
    assert result.worst.precision_limit_text.endswith(limit)


def test_a_good_baseline_raises_the_limit_too():
    typed = EXACT + 10 ** (-24 / 20) * NOISE
    result = verdict(engine=typed, literal=typed, precision=Precision.INT8, random_weights=True, baseline_db=26.0)
    assert result.verdict == "fail"
    assert "at least 25.0 dB" in result.worst.reason


def test_non_finite_values_fail():
    broken = EXACT.copy()
    broken[0, 0] = np.inf
    assert "NaN or Inf" in verdict(engine=broken, literal=EXACT).worst.reason


def test_a_wrong_shape_fails():
    assert "shape (6, 9)" in verdict(engine=EXACT[:, :9], literal=EXACT).worst.reason


def test_a_missing_output_fails():
    result = judge({}, None, reference(), Limits(Precision.FP32, random_weights=False))
    assert result.worst.reason == "logits: the engine has no such output"


def test_a_constant_output_is_inconclusive_however_exact():
    constant = np.tile(EXACT[:1], (6, 1))
    result = verdict(engine=constant, literal=constant, exact=constant)
    assert result.verdict == "inconclusive"
    assert "does not vary over 6 different inputs" in result.worst.reason


def test_the_worst_output_is_the_result():
    exact = {"a": EXACT, "b": EXACT}
    engine = {"a": EXACT, "b": EXACT * 2}
    result = judge(engine, engine, Reference(exact, exact, "test"), Limits(Precision.FP16, random_weights=False))
    assert result.verdict == "fail"
    assert encode(result)["output"] == "b"


def test_an_engine_that_cannot_run_is_judged_by_its_typed_graph_alone():
    typed = EXACT + 0.01 * NOISE
    limits = Limits(Precision.FP16, random_weights=False)
    worst = judge(None, {"logits": typed}, reference(), limits).worst
    assert (worst.scope, worst.verdict, worst.total, worst.backend_loss) == ("typed graph", "pass", None, None)
    assert worst.precision_loss.relative_l2 == pytest.approx(0.01, rel=1e-6)
    assert judge(None, {"logits": EXACT * 2}, reference(), limits).verdict == "fail"


def test_the_layer_to_blame_for_an_overflow_is_named():
    limits = Limits(Precision.FP16, random_weights=False)
    broken = {"logits": np.full_like(EXACT, np.inf)}
    worst = judge(None, broken, reference(), limits, blame="float16 overflow in layer1.0.conv1").worst
    assert worst.reason == "logits: 100% of the typed graph's values are NaN or Inf; float16 overflow in layer1.0.conv1"


@pytest.mark.parametrize(("share", "expected"), [(5e-6, "inconclusive"), (5e-4, "pass")])
def test_an_output_that_hardly_varies_says_nothing(share, expected):
    offset = 100.0 * np.linalg.norm(EXACT) / np.sqrt(EXACT.size)
    almost = offset + EXACT * share * 100.0
    assert verdict(engine=almost, literal=almost, exact=almost).verdict == expected


def test_what_varies_over_places_only_says_nothing():
    grid = np.arange(64.0).reshape(1, 1, 8, 8)
    almost = grid + 1e-3 * RNG.normal(size=(6, 1, 1, 1))
    assert verdict(engine=almost, literal=almost, exact=almost).verdict == "inconclusive"
    clearly = grid + RNG.normal(size=(6, 1, 1, 1))
    assert verdict(engine=clearly, literal=clearly, exact=clearly).verdict == "pass"


def detector(step):
    boxes, scores = 640 * RNG.random((6, 4, 50)), RNG.random((6, 3, 50))
    exact = np.concatenate([boxes, scores], axis=1)
    return exact, np.round(exact / step) * step


@pytest.mark.parametrize("scope", ["engine", "typed graph"])
def test_scores_that_vanish_beside_boxes_are_broken_at_any_total(scope):
    exact, found = detector(5.0)
    literal, engine = (found, None) if scope == "typed graph" else (exact, found)
    result = judge(
        None if engine is None else {"logits": engine},
        {"logits": literal},
        reference(exact),
        Limits(Precision.INT8, random_weights=False),
    )
    assert (result.verdict, result.worst.broken) == ("fail", True)
    assert result.worst.loss.sqnr_db > 40
    said = f"values collapsed: logits[channel 4:7]: the {scope}: 1 distinct value is left of "
    assert result.worst.reason.startswith(said)


def test_a_group_below_its_limit_fails_though_its_values_are_many():
    exact, _ = detector(1.0)
    found = exact.copy()
    found[:, 4:] += 0.15 * RNG.normal(size=found[:, 4:].shape)
    literal = {"logits": found}
    result = judge(None, literal, reference(exact), Limits(Precision.FP16, random_weights=False))
    assert result.verdict == "fail"
    assert "logits: typed graph against float64: SQNR of the mean-removed output (channel 4:7) " in result.worst.reason
    assert "limit: at least 20.0 dB" in result.worst.reason


def test_an_engine_that_strays_in_one_group_only_is_found():
    exact, _ = detector(1.0)
    literal, engine = exact + 1e-4, exact.copy()
    engine[:, 4:] += 0.2 * RNG.normal(size=engine[:, 4:].shape)
    result = judge(
        {"logits": engine}, {"logits": literal}, reference(exact), Limits(Precision.FP16, random_weights=False)
    )
    assert "logits: the engine differs from its typed graph" in result.worst.reason


def test_a_floor_that_is_none_passes_nothing():
    shaken = EXACT + 2e-3 * NOISE
    bad = Reference({"logits": EXACT}, {"logits": shaken}, "test")
    limits = Limits(Precision.FP32, random_weights=False)
    result = judge({"logits": shaken}, {"logits": shaken}, bad, limits)
    assert result.verdict == "inconclusive"
    assert "float32 itself is 0.002 relative L2 from float64, more than 0.001" in result.worst.reason


@pytest.mark.parametrize(("loss", "expected"), [(1.6e-6, "pass"), (2.1e-6, "fail")])
def test_the_fp32_limit_has_a_least_value_where_float32_itself_happens_to_be_nearer(loss, expected):
    lucky = Reference({"logits": EXACT}, {"logits": EXACT.astype(np.float32).astype(np.float64)}, "test")
    found = {"logits": EXACT + loss * NOISE}
    result = judge(found, found, lucky, Limits(Precision.FP32, random_weights=False))
    assert result.verdict == expected
    assert "at most 1.9e-06 relative L2 (16 units in the last place of float32)" in result.worst.precision_limit_text


def test_the_fp32_limit_has_a_ceiling():
    shaken = Reference({"logits": EXACT}, {"logits": EXACT + 5e-4 * NOISE}, "test")
    limits = Limits(Precision.FP32, random_weights=False)
    within, beyond = ({"logits": EXACT + loss * NOISE} for loss in (0.9e-3, 1.1e-3))
    assert judge(within, within, shaken, limits).verdict == "pass"
    assert judge(beyond, beyond, shaken, limits).verdict == "fail"


def test_a_quantized_file_has_the_limits_of_what_it_computes():
    flipped = EXACT + 0.02 * NOISE
    exact = Reference({"logits": EXACT}, {"logits": EXACT}, "test")
    for quantized, expected in ((True, "pass"), (False, "fail")):
        limits = Limits(Precision.FP32, random_weights=False, quantized=quantized)
        assert judge({"logits": flipped}, {"logits": flipped}, exact, limits).verdict == expected
    far = {"logits": EXACT + 0.12 * NOISE}
    shaky = Reference({"logits": EXACT}, {"logits": EXACT + 0.08 * NOISE}, "test")
    worst = judge(far, far, shaky, Limits(Precision.FP32, random_weights=False, quantized=True)).worst
    assert worst.verdict == "inconclusive"
    assert "two float executions of this quantized file differ by 0.08 themselves" in worst.reason
    assert judge(far, far, exact, Limits(Precision.FP32, random_weights=False, quantized=True)).verdict == "fail"


def test_a_baseline_that_failed_costs_a_remark_not_the_verdict():
    good, poor = ({"logits": EXACT + 10 ** (-decibel / 20) * NOISE} for decibel in (22, 14))
    limits = Limits(Precision.INT8, random_weights=True, no_baseline="quantize_static failed: KeyError")
    assert judge(good, good, reference(), limits).verdict == "pass"
    assert "quantize_static failed: KeyError" in judge(good, good, reference(), limits).worst.precision_limit_text
    worst = judge(poor, poor, reference(), limits).worst
    assert worst.verdict == "inconclusive"
    assert "quantize_static failed: KeyError" in worst.reason


@pytest.mark.parametrize(
    ("exact", "found", "said"),
    [
        (EXACT, EXACT + 10 ** (-5.5 / 20) * NOISE, "quantize_static itself reaches only 5.5 dB in y"),
        (EXACT, EXACT + 10 ** (-6.5 / 20) * NOISE, ""),
        (10 + EXACT, 10 + EXACT + 0.9 * NOISE, "quantize_static itself reaches only "),
        (np.arange(20), np.arange(20) * (np.arange(20) < 9), "quantize_static itself has 45% of y right"),
        (np.arange(20), np.arange(20) * (np.arange(20) < 11), ""),
    ],
)
def test_a_baseline_that_got_nothing_right_is_none(exact, found, said):
    reason = too_weak({"y": found}, {"y": exact}, {})
    assert reason.startswith(said)
    assert bool(reason) == bool(said)


def test_infinities_that_the_reference_has_too_are_no_fault():
    masked = np.where(np.arange(10) == 3, -np.inf, EXACT)
    assert verdict(engine=masked * (1 + FLOOR), exact=masked).verdict == "pass"
    assert "NaN or Inf" in verdict(engine=EXACT, exact=masked).worst.reason
    broken = np.where(np.arange(10) == 3, np.nan, EXACT)
    assert verdict(engine=broken, exact=broken).verdict == "inconclusive"


def test_a_constant_of_the_network_beside_real_outputs_says_nothing_of_them():
    exact = {"anchors": np.ones((3, 2)), "logits": EXACT}
    kinds = {"anchors": Kind("fixed")}
    limits = Limits(Precision.FP32, random_weights=False)
    found = judge(exact, exact, Reference(exact, exact, "test"), limits, kinds=kinds)
    assert (found.verdict, found.worst.output) == ("pass", "logits")
    wrong = {**exact, "anchors": 2 * exact["anchors"]}
    assert judge(wrong, wrong, Reference(exact, exact, "test"), limits, kinds=kinds).verdict == "fail"
    alone = {"anchors": exact["anchors"]}
    assert judge(alone, alone, Reference(alone, alone, "test"), limits, kinds=kinds).verdict == "inconclusive"


def test_one_figure_for_a_search_sees_what_a_verdict_sees():
    near = EXACT + 10 ** (-24 / 20) * NOISE
    assert closeness_db({"y": near}, {"y": EXACT}, {}) == pytest.approx(24, abs=0.01)
    exact, found = detector(5.0)
    assert closeness_db({"y": found}, {"y": exact}, {}) == -np.inf
    shaken = exact.copy()
    shaken[:, 4:] += 0.15 * RNG.normal(size=shaken[:, 4:].shape)
    assert 10 < closeness_db({"y": shaken}, {"y": exact}, {}) < 20  # the whole output is at 70 dB
    labels = RNG.integers(0, 5, size=(4, 100))
    wrong = labels.copy()
    wrong.reshape(-1)[:40] += 1
    assert closeness_db({"y": wrong}, {"y": labels}, {}) == pytest.approx(20)
    assert closeness_db({"y": near, "labels": wrong}, {"y": EXACT, "labels": labels}, {}) == pytest.approx(20)


def test_images_are_counted_by_an_output_that_has_a_row_for_each():
    exact = {"anchors": np.ones((30, 2)), "logits": EXACT}
    limits = Limits(Precision.FP32, random_weights=False)
    assert judge(exact, exact, Reference(exact, exact, "t"), limits, kinds={"anchors": Kind("fixed")}).images == 6


def test_a_failure_says_in_how_many_places_the_class_changed_and_which_image_stands_alone():
    exact = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=(8, 6))
    typed = exact * 0.999 + 0.001 / 5
    typed[2, 4] = np.roll(exact[2, 4], 1)
    result = verdict(engine=typed, literal=typed, exact=exact, precision=Precision.FP16)
    assert result.verdict == "fail"
    assert "the most probable class is the same in 47 of 48 positions; image 3 of 8 has an SQNR of " in result.reason
    everywhere = exact + np.random.default_rng(1).normal(0, 0.1, exact.shape)
    spread = verdict(engine=everywhere, literal=everywhere, exact=exact, precision=Precision.FP16)
    assert "of 48 positions" in spread.reason
    assert "the median image" not in spread.reason


@pytest.mark.parametrize(("typed", "expected"), [(0.99, "inconclusive"), (0.9985, "pass"), (0.6, "fail")])
def test_a_classifier_that_was_shown_one_class_only_is_inconclusive_where_it_would_fail_by_what_varies(typed, expected):
    sure = np.linspace(0.998, 0.9999, 8)
    exact = np.stack([sure, 1 - sure], axis=1)
    found = 0.8 * (exact - exact.mean(axis=0)) + np.array([typed, 1 - typed])
    if expected == "pass":
        found = exact + 1e-5
    result = verdict(engine=found, literal=found, exact=exact, precision=Precision.INT8)
    assert result.verdict == expected
    assert ("show it images of several classes" in result.reason) == (expected == "inconclusive")
