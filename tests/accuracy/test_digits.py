"""INT8 and FP16 keep the accuracy of a really trained network: 5-fold over all 1,797 digits, through torch and ORT.

`make test` holds one fold of ONNX Runtime's FP32 and INT8.
"""

from collections import defaultdict
from dataclasses import replace

import pytest
from digits import digits, folds, train, write_archive

from deploykit.bench import BenchSettings
from deploykit.results.failure import exit_code
from deploykit.spec import BatchRange, BuildSpec, Calibration, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.evaluate import EvaluationRequest, evaluate
from deploykit.workflow.workspace import Workspace

FOLDS = 5
ALLOWED = {"fp32": 0, "fp16": 2, "int8": 5}  # net flips over all images


@pytest.fixture(scope="module")
def totals(tmp_path_factory):
    """(backend, precision) -> [images, right, lost, gained] over all folds."""
    folder = tmp_path_factory.mktemp("digits")
    workspace = Workspace(Store.open(folder / "store"))
    pixels, labels = digits()
    found = defaultdict(lambda: [0, 0, 0, 0])
    for number, (seen, unseen) in enumerate(folds(len(pixels), FOLDS)):
        weights = train(folder / f"{number}.safetensors", pixels[seen], labels[seen], seed=number)
        request = EvaluationRequest(
            spec=BuildSpec(
                ModelSpec("lenet5", weights=weights),
                batch=BatchRange.parse("1:64:64"),
                data=write_archive(folder / f"train{number}.npz", pixels[seen], labels[seen]),
            ),
            labeled=write_archive(folder / f"test{number}.npz", pixels[unseen], labels[unseen]),
            backends=("torch", "ort"),
            precisions=tuple(Precision),
            settings=BenchSettings(),
        )
        for line in evaluate(workspace, request).rows:
            if line.top1 is not None:
                flips = (line.flips.lost, line.flips.gained) if line.flips else (0, 0)
                sums = found[line.row.backend, line.row.precision]
                sums[:] = [a + b for a, b in zip(sums, (line.top1.n, line.top1.hits, *flips), strict=True)]
    for (backend, precision), (images, right, lost, gained) in found.items():
        print(f"{backend:6} {precision}  {right} of {images} = {right / images:.2%}, lost {lost}, gained {gained}")
    return dict(found)


@pytest.mark.full
def test_every_row_saw_every_image_and_the_network_is_trained(totals):
    assert set(totals) == {("torch", "fp32"), ("torch", "fp16"), ("ort", "fp32"), ("ort", "fp16"), ("ort", "int8")}
    assert {images for images, *_ in totals.values()} == {1797}
    assert totals["torch", "fp32"][1] > 0.97 * 1797


@pytest.mark.full
@pytest.mark.parametrize("precision", ALLOWED)
def test_net_flips_stay_within_what_is_allowed(totals, precision):
    for (backend, kind), (_, _, lost, gained) in totals.items():
        if kind == precision:
            assert lost - gained <= ALLOWED[precision], f"{backend} {precision}: {lost} lost, {gained} gained"


@pytest.fixture(scope="module")
def one_fold(tmp_path_factory):
    """A request for ONNX Runtime's FP32 and INT8 of a network that was trained on four fifths, on the last fifth."""
    folder = tmp_path_factory.mktemp("fold")
    pixels, labels = digits()
    seen, unseen = next(folds(len(pixels), FOLDS))
    weights = train(folder / "weights.safetensors", pixels[seen], labels[seen])
    return EvaluationRequest(
        spec=BuildSpec(
            ModelSpec("lenet5", weights=weights),
            batch=BatchRange.parse("1:64:64"),
            data=write_archive(folder / "train.npz", pixels[seen], labels[seen]),
        ),
        labeled=write_archive(folder / "test.npz", pixels[unseen], labels[unseen]),
        backends=("ort",),
        precisions=(Precision.FP32, Precision.INT8),
        settings=BenchSettings(),
        max_drop=0.3,
    )


def test_int8_of_one_fold_is_as_good_as_its_float32(workspace, one_fold):
    whole, integer = evaluate(workspace, replace(one_fold, max_drop=1.0)).rows
    assert whole.top1.n == integer.top1.n == 360
    assert whole.top1.hits > 0.97 * 360
    assert integer.flips.lost - integer.flips.gained <= 1
    assert not integer.row.parity


def test_ranges_that_cut_too_much_off_close_the_gate(workspace, one_fold):
    """Ranges that keep 60 % of the activations ruin the network, and `--max-drop` sees it."""
    spec = replace(one_fold.spec, calibration=Calibration(method="percentile", percentile=60.0))
    report = evaluate(workspace, replace(one_fold, spec=spec))
    whole, cut = report.rows
    assert whole.row.parity is None
    assert cut.flips.drop > 5
    assert "points of top-1 lost, limit: at most 0.3" in cut.row.parity.reason
    assert exit_code([line.row for line in report.rows]) == 3
