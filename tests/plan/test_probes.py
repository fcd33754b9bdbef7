"""Probes stand where a kernel writes one value of the graph anyway; a plan that they change is seen."""

from dataclasses import replace

from deploykit.plan.model import EnginePlan, PlanLayer, PlanTensor
from deploykit.plan.probes import CHANNELS_LAST, LINEAR, GraphValue, candidates, disturbed
from deploykit.spec import Precision

LAST, ROWS = "(NHWC) Channel major format", "(Linear) Row major linear format"


def tensor(name, form=LAST, dtype="Half"):
    return PlanTensor(name, (-1, 8, 4, 4), dtype, form)


def layer(name, read, written, nodes, kind="correlation"):
    return PlanLayer(name, kind, read, (), written, nodes, tactic="t")


def plan(*layers):
    return EnginePlan(
        compiler="rtx", source="log", precision=Precision.FP16, batch=1, targets=("sm_89",), layers=layers
    )


FIRST = layer("k1", (tensor("x"),), (tensor("b.1_1"),), ("conv1", "relu1"))
SECOND = layer("k2", (tensor("b.1_1"),), (tensor("c", ROWS),), ("conv2",))
LAYERS = (FIRST, SECOND, layer("k3", (tensor("c", ROWS),), (tensor("y", ROWS, "Float"),), ("cast",), "kgen"))


def value(name, maker, *readers, public=False, dtype="float16", shape=(-1, 8, 4, 4)):
    return GraphValue(name, maker, frozenset(readers), dtype, shape, public)


VALUES = [
    value("a", "conv1", "relu1"),
    value("b", "relu1", "conv2"),
    value("c", "conv2", "cast"),
    value("y", "cast", public=True, dtype="float32"),
]


def test_candidates_are_what_one_kernel_hands_on_in_its_layout():
    assert candidates(plan(*LAYERS), VALUES) == {"b": CHANNELS_LAST, "c": LINEAR}


def test_a_kernel_that_hands_on_two_values_or_another_type_or_shape_has_none():
    both = [*VALUES, value("d", "conv1", "elsewhere")]
    assert candidates(plan(*LAYERS), both) == {"c": LINEAR}
    assert candidates(plan(*LAYERS), [replace(each, dtype="float32") for each in VALUES]) == {}
    assert candidates(plan(*LAYERS), [replace(each, shape=(-1, 4, 4)) for each in VALUES]) == {}
    assert candidates(plan(*(replace(each, outputs=(tensor("q", dtype="Int8"),)) for each in LAYERS)), VALUES) == {}


def test_the_same_kernels_under_other_names_are_undisturbed():
    named = replace(FIRST, outputs=(tensor("b"),), name="k9")
    assert disturbed(plan(*LAYERS), plan(named, *LAYERS[1:]), {"b": CHANNELS_LAST}) == (False, set())


def test_a_further_kernel_and_a_changed_one_are_seen_and_their_probes_named():
    copied = layer("k4", (tensor("b.1_1"),), (tensor("b", ROWS),), (), "kgen")
    assert disturbed(plan(*LAYERS), plan(*LAYERS, copied), {"b": LINEAR, "c": LINEAR}) == (True, {"b"})
    slower = replace(SECOND, tactic="other")
    assert disturbed(plan(*LAYERS), plan(FIRST, slower, LAYERS[2]), {"c": LINEAR}) == (True, {"c"})
    assert disturbed(plan(*LAYERS), plan(*LAYERS[1:]), {"b": LINEAR}) == (True, set())
