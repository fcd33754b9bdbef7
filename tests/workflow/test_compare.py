"""A table's rows on backends that are right or wrong by design: what is said of each, and what one costs the others."""

from dataclasses import replace

import numpy as np
import pytest
from answering import write_network

from deploykit.bench import BenchSettings
from deploykit.codec import encode
from deploykit.errors import UnknownName, UsageError
from deploykit.results.failure import exit_code
from deploykit.spec import BatchRange, BuildSpec, Calibration, ModelSpec, Precision, QuantizationPolicy
from deploykit.workflow.compare import Request, bench, verify

QUICK = BenchSettings(threads=1, max_seconds=1.0, processes=1, gap_ms=0.0)


@pytest.fixture
def ask(answering, tmp_path):
    """A request for rows of the network that the answering backends compute."""
    network = write_network(tmp_path / "network.onnx")

    def make(*backends, precisions=(Precision.FP32,), **more):
        spec = BuildSpec(ModelSpec(str(network)), batch=BatchRange(1, 3, 8))
        return Request(spec=spec, backends=backends, precisions=precisions, settings=QUICK, **more)

    return make


def test_every_backend_gets_its_own_verdict(workspace, ask):
    report = verify(workspace, ask("exact", "reversed", "stuck", "nan", "biased"))
    verdicts = {row.backend: row.parity.verdict for row in report.rows}
    assert list(verdicts) == ["exact", "reversed", "stuck", "nan", "biased"]
    assert verdicts.pop("exact") == "pass"
    assert "pass" not in verdicts.values()
    assert all(row.parity.reason for row in report.rows[1:])
    assert exit_code(report.rows) == 3
    assert exit_code(report.rows[:1]) == 0


def test_a_row_that_breaks_costs_no_other_row(workspace, ask):
    exact, crashed = bench(workspace, ask("exact", "crashing")).rows
    assert (exact.state, exact.parity.verdict) == ("measured", "pass")
    assert exact.latency_ms.median > 0
    assert (crashed.state, crashed.latency_ms) == ("failed", None)
    assert "the device has left" in crashed.reason
    assert exit_code([exact, crashed]) == 1


def test_answers_of_another_form_are_a_verdict_with_its_reason_beside_sound_rows(workspace, ask):
    exact, *wrong = bench(workspace, ask("exact", "nan", "cut", "empty")).rows
    assert (exact.state, exact.parity.verdict) == ("measured", "pass")
    for row, words in zip(wrong, ("NaN", "shape", "shape"), strict=True):
        assert row.state == "measured"
        assert row.parity.verdict in ("fail", "inconclusive")
        assert words in row.parity.reason
        assert row.latency_ms.median > 0


def test_timed_rows_have_rounds_and_a_ratio_to_the_first(workspace, ask):
    report = bench(workspace, ask("exact", "null"))
    first, second = report.rows
    assert report.conditions.rounds >= 2
    assert first.ratio_to_first.value == 1.0
    assert second.ratio_to_first.value > 0
    for row in report.rows:
        assert row.batch == report.conditions.batch == 3
        assert {block.round for block in row.blocks} == set(range(report.conditions.rounds))


def test_a_backend_that_has_no_form_of_a_precision_says_so_beside_those_that_do(workspace, ask):
    report = verify(workspace, ask("exact", "torch"))
    assert [(row.backend, row.state) for row in report.rows] == [("exact", "measured"), ("torch", "unavailable")]
    assert report.rows[1].reason
    assert exit_code(report.rows) == 0
    assert exit_code(report.rows[1:]) == 4


def test_int8_is_calibrated_on_other_images_than_it_is_judged_by(workspace, ask, image_folder):
    asked = ask("null", precisions=(Precision.INT8,))
    policy = QuantizationPolicy.parse("min-channels=2")
    calibration = Calibration(images=2, method="percentile", percentile=99.9)
    spec = replace(asked.spec, data=image_folder, policy=policy, calibration=calibration)
    report = verify(workspace, replace(asked, spec=spec))
    (row,) = report.rows
    assert report.conditions.calibration.startswith("percentile 99.9 over 2 inputs: ")
    assert report.conditions.calibration.endswith("; layers: min-channels=2")
    assert row.state == "measured"
    assert row.typed_digest
    assert row.parity.verdict == "fail"  # it computes no network


def test_a_wrong_request_is_refused_before_anything_is_built(workspace, ask, tmp_path):
    with pytest.raises(UsageError, match="--typed verifies one graph"):
        ask("exact", precisions=(Precision.FP32, Precision.FP16), typed=tmp_path / "typed.onnx")
    with pytest.raises(UnknownName, match="unknown backend 'exakt'"):
        verify(workspace, ask("exakt"))


def test_the_verdict_is_about_all_images_whatever_the_batch(workspace, ask):
    """Batches are put together again in order: a fault there would show as `reversed` does."""
    for batch in (BatchRange(1, 1, 1), BatchRange(1, 5, 8)):
        asked = ask("exact", "reversed")
        exact, turned = verify(workspace, replace(asked, spec=replace(asked.spec, batch=batch))).rows
        assert exact.parity.verdict == "pass"
        assert (turned.parity.verdict == "pass") is (batch.optimum == 1)
        assert exact.parity.images == turned.parity.images >= 8


def test_photographs_and_noise_are_both_behind_a_verdict_of_fp32(workspace, ask, image_folder):
    asked = ask("exact")
    spec = replace(asked.spec, data=image_folder)
    (row,) = verify(workspace, replace(asked, spec=spec)).rows
    assert row.parity.images > len(list(image_folder.iterdir())) // 2
    assert np.isfinite(encode(row.parity)["floor"])
