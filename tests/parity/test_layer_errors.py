"""A loss is located: in one layer's own figure, and in everybody's after it in the other."""

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from deploykit import graph
from deploykit.parity import layers as layer_errors
from deploykit.parity.layers import LayerErrors, pair_by_name, pair_by_place
from deploykit.parity.reference import double_outputs, double_values

NETWORK = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[4, 3, 3, 3] u, float[4, 4, 3, 3] v, float[4, 4, 3, 3] w> {
    [one] a = Conv <pads = [1, 1, 1, 1]> (x, u)
    [act] r = Relu (a)
    [two] b = Conv <pads = [1, 1, 1, 1]> (r, v)
    [sum] s = Add (b, r)
    [three] y = Conv <pads = [1, 1, 1, 1]> (s, w)
}"""


def network(change=None, text=NETWORK) -> ir.Model:
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for info in list(model.graph.value_info):
        shape = [size.dim_value for size in info.type.tensor_type.shape.dim]
        array = random.standard_normal(shape).astype(np.float32) / 5
        array = change(info.name, array) if change else array
        model.graph.initializer.append(numpy_helper.from_array(array, info.name))
    del model.graph.value_info[:]
    return graph.parse(model)


FEED = {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)}
FAULTY = {"change": lambda name, array: array * np.float32(1.1) if name == "v" else array}


def measured(reference, other, pairing=None):
    errors = LayerErrors(reference, other, pairing or pair_by_name(reference, other))
    errors.add(FEED, FEED)
    return {each.node: each for each in errors.found()}, errors


def test_a_fault_is_one_layers_own_and_everybodys_after_it():
    found, errors = measured(network(), network(**FAULTY))
    assert list(found) == ["one", "act", "two", "sum", "three"]
    assert found["two"].own_db == pytest.approx(20.0, abs=0.1)  # a tenth
    assert min(found[node].own_db for node in ("one", "act", "sum", "three")) > 120
    assert min(found[node].sqnr_db for node in ("one", "act")) > 120
    assert max(found[node].sqnr_db for node in ("two", "sum", "three")) < 30
    assert errors.sources["s"] == {"b", "r"}
    assert errors.peaks["x"] == pytest.approx(np.abs(FEED["x"]).max())


def test_groups_that_are_small_give_the_same_figures(monkeypatch):
    at_once, _ = measured(network(), network(**FAULTY))
    monkeypatch.setattr(layer_errors, "GROUP_BYTES", 1)
    one_by_one, errors = measured(network(), network(**FAULTY))
    assert len(errors._groups) == len(one_by_one) == 5
    for node, found in one_by_one.items():
        assert found.own_db == pytest.approx(at_once[node].own_db, abs=0.5)
        assert found.sqnr_db == pytest.approx(at_once[node].sqnr_db, abs=0.5)


def test_what_is_not_finite_is_told_from_what_is_exact():
    found, _ = measured(network(), network(lambda name, array: array * np.float32(np.inf) if name == "v" else array))
    assert (found["two"].own_db, found["two"].broken) == (-math.inf, True)
    assert not found["act"].broken


def test_values_in_float64_are_those_of_the_whole_graph():
    model = network()
    values = dict(double_values(model, FEED))
    assert list(values) == ["a", "r", "b", "s", "y"]
    np.testing.assert_array_equal(values["y"], double_outputs(model, [FEED])["y"])
    assert {array.dtype for array in values.values()} == {np.dtype(np.float64)}


def test_other_names_are_paired_by_place_and_the_rest_is_said():
    renamed = NETWORK.replace("b = Conv", "t = Conv").replace("Add (b, r)", "Add (t, r)")
    renamed = renamed.replace("r = Relu (a)", "q = Relu (a)").replace("(r, v)", "(q, v)").replace("(t, r)", "(t, q)")
    reference, other = network(), network(text=renamed)
    named = pair_by_name(reference, other)
    assert (dict(named.taps), named.unpaired) == ({"a": "a", "s": "s", "y": "y"}, ("r", "b"))
    placed = pair_by_place(reference, other, named)
    assert list(placed.taps) == ["a", "b", "s", "y"]
    assert (placed.taps["b"], placed.placed, placed.unpaired) == ("t", ("b",), ("r",))
    found, _ = measured(reference, other, placed)
    assert min(each.sqnr_db for each in found.values()) > 120


def test_a_value_of_another_shape_is_no_pair():
    other = network(text=NETWORK.replace("r = Relu (a)", "r = GlobalAveragePool (a)"))
    assert "r" in pair_by_name(network(), other).unpaired
