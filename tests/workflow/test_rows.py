"""The exit code comes from what each row is and from its verdict; a verdict that is missing is no pass."""

import onnx
import pytest

from deploykit.parity import GateMissed, OutputParity, ParityResult, Undecided
from deploykit.results.failure import exit_code
from deploykit.results.row import Row
from deploykit.spec import BatchRange, BuildSpec, Calibration, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.rows import asked_rows, build_rows, row_of
from deploykit.workflow.workspace import Workspace


def row(state, parity=None, **options):
    reason = "" if state == "measured" else "why"
    return Row(
        model="m", backend="ort", precision="fp32", batch=1, state=state, reason=reason, parity=parity, **options
    )


def result(verdict):
    return ParityResult((OutputParity("y", "engine", verdict, "", "", floor=1e-6),), 4, "test", "given weights")


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row("measured", result("pass")), row("built", result("pass"))], 0),
        ([row("measured", result("pass")), row("unavailable")], 0),
        ([row("unavailable"), row("unavailable")], 4),
        ([row("measured", result("fail"))], 3),
        ([row("measured", result("inconclusive"))], 3),
        ([row("measured", Undecided("no reference"))], 3),
        ([row("measured")], 3),
        ([row("built"), row("unavailable")], 3),
        ([row("failed", GateMissed("a weight overflows"))], 3),
        ([row("failed"), row("measured", result("fail"))], 1),
        ([row("measured", mode="forward")], 0),
    ],
)
def test_rows_that_were_compared(rows, code):
    assert exit_code(rows) == code


def test_rows_that_were_not_to_be_compared_need_no_verdict():
    assert exit_code([row("measured")], compared=False) == 0
    assert exit_code([row("measured", GateMissed("2 points of top-1 lost"))], compared=False) == 3


WIDER = """<ir_version: 10, opset_import: ["" : 20]> g (float[N, 3, 8, 8] x) => (float[N, 4, 14, 14] y)
    <float[4, 3, 3, 3] w = {CONV}, float[4, 4, 4, 4] v = {WIDE}> {
        a = Conv (x, w)
        y = ConvTranspose <strides = [2, 2]> (a, v) }"""


def test_a_row_without_a_plan_says_what_its_typed_graph_leaves_in_float(tmp_path):
    weights = {"CONV": 4 * 3 * 9, "WIDE": 4 * 4 * 16}
    text = WIDER
    for name, count in weights.items():
        text = text.replace(f"{{{name}}}", "{" + ", ".join(f"{(place % 7 - 3) / 10}" for place in range(count)) + "}")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    model = ModelSpec(str(tmp_path / "net.onnx"))
    spec = BuildSpec(model, Precision.INT8, BatchRange.parse("1"), calibration=Calibration(images=2))
    asked = asked_rows(spec, ["ort"], [Precision.INT8], strict=False)
    (built,) = build_rows(Workspace(Store.open(tmp_path / "store")), asked)
    note = row_of(built).note
    assert "1 of 2 layers with weights compute in float (" in note
    assert "no integer kernel for ConvTranspose)" in note
