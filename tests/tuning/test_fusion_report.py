"""What each fusion did, against figures taken by hand, and its benefit."""

import numpy as np
import onnx
import pytest
from fusing_graphs import scaled_residual, siblings, write

from deploykit.report.fusions import render_fusions
from deploykit.results.costs import PlanCosts
from deploykit.results.fusions import ALREADY, NOTHING, Change
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS, BatchRange, BuildSpec, Fusions, ModelSpec, Precision
from deploykit.tuning.cost import PlanCostModel
from deploykit.tuning.fusion_report import fusion_report_of
from deploykit.tuning.fusions import Goal
from deploykit.workflow.export import export
from deploykit.workflow.transforms import read_graph


def ledger_of(workspace, name, fusions="safe", seconds=1.0):
    wanted = Fusions.parse(fusions) if isinstance(fusions, str) else fusions
    spec = BuildSpec(ModelSpec(str(name)), Precision.FP16, BatchRange(1, 8, 8), fusions=wanted)
    exported = export(workspace, spec.model, spec.fusions)
    return fusion_report_of(workspace, exported, Goal(spec=spec), seconds=seconds)


def line_of(ledger, name):
    return next(line for line in ledger.lines if line.name == name)


@pytest.fixture(scope="module")
def residual(workspace, tmp_path_factory):
    return ledger_of(workspace, scaled_residual(tmp_path_factory.mktemp("net") / "net.onnx"), seconds=3.0)


@pytest.fixture(scope="module")
def merged(workspace, tmp_path_factory):
    return ledger_of(workspace, siblings(tmp_path_factory.mktemp("net") / "net.onnx"), "safe,merge_siblings")


def test_every_fusion_has_its_line_in_order(residual):
    assert [line.name for line in residual.lines] == [*SAFE_FUSIONS, *COST_BASED_FUSIONS]


def test_what_a_scale_folded_away_took_with_it(residual):
    line = line_of(residual, "fold_scale")
    per_block = 32 * 32 * 9 + 32
    assert (line.wanted, line.sites, line.kept) == (True, 2, 2)
    assert line.params == Change(2 * per_block + 2 * 32, 2 * per_block)
    assert line.macs == Change(*(2 * 16 * 16 * 32 * 32 * 9,) * 2)
    assert 1e-9 < line.error < 1e-6
    assert line.ort is not None
    assert line.eager is None


def test_what_the_compiler_does_by_itself_is_a_result(residual):
    line = line_of(residual, "fold_scale")
    without, with_it = line.plan.without, line.plan.with_it
    assert without.kernels == with_it.kernels
    assert 0 < without.bytes_moved - with_it.bytes_moved <= 2 * 32 * 2  # the scales themselves, as Half
    assert line.verdict == ALREADY


def test_what_finds_nothing_is_left_without_costs(residual):
    line = line_of(residual, "fold_batchnorm")
    assert line.verdict == NOTHING
    assert (line.plan, line.ort, line.error, line.params) == (None, None, None, None)


def test_what_costs_more_says_so_with_the_figure(merged):
    line = line_of(merged, "merge_siblings")
    without, with_it = line.plan.without, line.plan.with_it
    assert with_it.bytes_moved > 1.05 * without.bytes_moved
    assert line.verdict == f"costs more, {without.change_to(with_it)}"
    assert line.params.before == line.params.after
    assert line.error < 1e-12


@pytest.mark.full
def test_sites_that_pay_and_all_sites_stand_side_by_side(workspace, tmp_path):
    fusions = Fusions((*SAFE_FUSIONS, "merge_siblings"), ("merge_siblings@a0",))
    line = line_of(ledger_of(workspace, siblings(tmp_path / "net.onnx"), fusions), "merge_siblings")
    assert (line.sites, line.kept, line.wanted) == (2, 1, True)
    more = line.plan.without.change_to(line.plan.all_sites)
    assert line.verdict == f"beneficial at 1 sites; at all 2: costs more, {more}"


@pytest.mark.full
def test_what_was_not_asked_for_is_compared_as_if_added(workspace, tmp_path, merged):
    line = line_of(ledger_of(workspace, siblings(tmp_path / "net.onnx")), "merge_siblings")
    assert (line.sites, line.kept, line.wanted) == (2, 0, False)
    assert line.plan == line_of(merged, "merge_siblings").plan
    assert line.verdict.startswith("not applied: costs more, ")


def test_costs_are_of_graphs_that_differ_in_one_fusion(workspace, tmp_path):
    path = siblings(tmp_path / "net.onnx")
    line = line_of(ledger_of(workspace, path, "safe,merge_siblings"), "merge_siblings")
    spec = BuildSpec(ModelSpec(str(path)), Precision.FP16, BatchRange(1, 8, 8))
    found = []
    for fusions in ("safe", "safe,merge_siblings"):
        stored = export(workspace, spec.model, Fusions.parse(fusions)).path
        found.append(PlanCostModel(spec).cost(read_graph(stored)))
    assert line.plan == PlanCosts(*found)


def test_refusals_are_counted_by_reason(workspace, tmp_path):
    weights = {"s": np.full((1, 3, 1, 1), 0.5), "w": np.ones((3, 3, 1, 1))}
    body = "c = Conv(x, w) a = Mul(c, s) d = Conv(a, w) b = Mul(d, s) e = Add(c, d) y = Add(e, b)"
    path = write(tmp_path / "n.onnx", body, weights, channels=3, side=8, output="float[N, 3, 8, 8] y")
    line = line_of(ledger_of(workspace, path), "fold_scale")
    assert line.verdict == NOTHING
    (skipped,) = line.skipped
    assert "another node reads" in skipped.reason
    assert skipped.count == 2


@pytest.mark.full
def test_what_cannot_be_fed_keeps_its_plan_and_says_why_it_has_no_error(workspace, tmp_path):
    path = siblings(tmp_path / "net.onnx")
    proto = onnx.load(path)
    proto.graph.node.append(onnx.helper.make_node("RandomNormalLike", ["y"], ["z"], name="z"))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, ["N", 64, 4, 4]))
    onnx.save(proto, path)
    line = line_of(ledger_of(workspace, path), "merge_siblings")
    assert line.error is None
    assert any("random" in note for note in line.notes)


@pytest.mark.full
def test_eager_has_a_counterpart_for_batchnorm_alone(workspace):
    line = line_of(ledger_of(workspace, "test_resnet", seconds=3.0), "fold_batchnorm")
    assert line.eager.ms > 0
    assert line.eager.ratio < 1
    assert (line.sites, line.kept) == (9, 9)


def test_the_table_shows_figures_verdicts_and_reasons(merged, residual, capsys):
    render_fusions(merged)
    table = capsys.readouterr().out
    assert table.isascii()
    line = line_of(merged, "merge_siblings")
    assert line.verdict in table
    assert f"{line.plan.without.bytes_moved / 1e6:.1f} -> {line.plan.with_it.bytes_moved / 1e6:.1f}" in table
    assert "ahead-of-time plan" in table
    render_fusions(residual)
    table = capsys.readouterr().out
    assert ALREADY in table
    assert NOTHING in table
