"""Export and optimization of real networks, run by real runtimes."""

import copy
import logging
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import timm
import torch
import torchvision
from torch import nn

from deploykit.errors import ExportFailed
from deploykit.export import export_module
from deploykit.graph import check, optimize, serialize, tensor_specs
from deploykit.graph.rewrite import FOLDED_SCOPE, NAME_SCOPES, module_scope
from deploykit.spec import TensorSpec

WEIGHTED = (nn.Conv2d, nn.Linear)


def vgg11_bn() -> nn.Module:
    module = torchvision.models.vgg11_bn(init_weights=False)
    module.avgpool, module.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10)  # the real head has 124 M weights
    return module


NETWORKS = {
    "resnet18": (torchvision.models.resnet18, 64),
    "mobilenetv1_100": (lambda: timm.create_model("mobilenetv1_100"), 64),
    "vgg11_bn": (vgg11_bn, 32),
}


def seeded(factory):
    """The network with weights and BatchNorm statistics that leave nothing at its neutral value."""
    torch.manual_seed(0)
    module = factory().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in [
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 1.5),
            ]:
                nn.init.uniform_(tensor, low, high)
    return module


@pytest.fixture(
    scope="module",
    params=["resnet18", *(pytest.param(name, marks=pytest.mark.full) for name in NETWORKS if name != "resnet18")],
)
def network(request):
    """The module, its raw graph's nodes as (operator, scope), the optimized graph and its ledger."""
    factory, side = NETWORKS[request.param]
    module = seeded(factory)
    graph = export_module(module, TensorSpec("images", ("batch", 3, side, side), "float32"))
    raw = [(node.op_type, module_scope(node)) for node in graph.graph]
    return module, raw, graph, optimize(graph)


def paths(module, kinds):
    return [path for path, part in module.named_modules() if isinstance(part, kinds)]


def test_the_raw_graph_has_one_batchnorm_a_module_and_every_convolution_its_scope(network):
    module, raw, _, _ = network
    assert sorted(scope for op, scope in raw if op == "BatchNormalization") == sorted(paths(module, nn.BatchNorm2d))
    assert sorted(scope for op, scope in raw if op == "Conv") == sorted(paths(module, nn.Conv2d))


def test_optimizing_folds_every_batchnorm_into_the_convolution_before_it(network):
    module, _, graph, ledger = network
    norms = paths(module, nn.BatchNorm2d)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph}
    assert len(ledger["fold_batchnorm"].rewritten) == len(norms)
    assert not ledger["fold_batchnorm"].skipped
    assert sorted(node.metadata_props[FOLDED_SCOPE] for node in graph.graph if node.op_type == "Conv") == sorted(norms)


def test_weighted_nodes_are_named_for_their_modules_and_all_names_differ(network):
    module, _, graph, _ = network
    names = [node.name for node in graph.graph]
    assert len(set(names)) == len(names)
    assert "" not in names
    weighted = [node for node in graph.graph if node.op_type in {"Conv", "Gemm"}]
    assert sorted(node.name for node in weighted) == sorted(paths(module, WEIGHTED))
    assert all(node.inputs[1].name == f"{node.name}.weight" for node in weighted)
    assert all(node.inputs[2].name == f"{node.name}.bias" for node in weighted)


def test_every_value_has_a_type_and_a_shape_whose_only_free_dimension_is_the_batch(network):
    _, _, graph, _ = network
    for value in (output for node in graph.graph for output in node.outputs):
        assert value.dtype == ir.DataType.FLOAT
        batch, *rest = value.shape
        assert batch.value == "batch"
        assert all(isinstance(size, int) for size in rest)


def test_the_batch_stays_free_and_the_numbers_are_those_of_double_precision(network):
    module, _, graph, _ = network
    check(graph)
    content = serialize(graph)
    (images,), (logits,) = tensor_specs(graph)
    assert (images.name, images.shape[0], logits.name, logits.shape[0]) == ("images", "batch", "logits", "batch")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    double = copy.deepcopy(module).double()
    for batch in (1, 3, 5):
        x = np.random.default_rng(batch).standard_normal(images.at_batch(batch)).astype(np.float32)
        with torch.no_grad():
            wanted = double(torch.from_numpy(x).double()).numpy()
        (got,) = session.run(None, {"images": x})
        assert got.shape == wanted.shape
        assert np.linalg.norm(got - wanted) < 2e-6 * np.linalg.norm(wanted)


def test_tensorrt_rtx_parses_the_optimized_graph_and_reports_its_names(network):
    trt = pytest.importorskip("tensorrt_rtx")
    _, _, graph, _ = network
    logger = trt.Logger(trt.Logger.ERROR)
    definition = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(serialize(graph)), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    layers = {definition.get_layer(i).name for i in range(definition.num_layers)}
    assert {node.name for node in graph.graph if node.op_type == "Conv"} <= layers


@pytest.mark.full
def test_node_counts_of_resnet50_are_those_of_the_decision_record():
    """docs/decisions/clean-up.md quotes these; torch's exporter decides the first one."""
    module = seeded(torchvision.models.resnet50)
    graph = export_module(module, TensorSpec("images", ("batch", 3, 64, 64), "float32"))
    ledger = optimize(graph)
    assert (ledger.nodes_before, ledger["name_nodes"].nodes_after, ledger.nodes_after) == (450, 175, 122)
    assert len(ledger["fold_batchnorm"].rewritten) == 53


class Block(nn.Module):
    """A convolution that is used twice, functional calls and a printed line."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, images):
        print("tracing")
        x = torch.relu(self.bn1(self.conv(images))) + images
        x = self.bn2(self.conv(x))
        return self.fc(x.mean((2, 3)))


BLOCK_INPUT = TensorSpec("images", ("batch", 4, 8, 8), "float32")


def test_a_convolution_used_twice_gets_two_folded_weights():
    module = seeded(Block)
    graph = export_module(module, BLOCK_INPUT)
    optimize(graph)
    convs = [node for node in graph.graph if node.op_type == "Conv"]
    assert [node.name for node in convs] == ["conv", "conv_1"]
    assert [node.metadata_props[FOLDED_SCOPE] for node in convs] == ["bn1", "bn2"]
    assert convs[0].inputs[1] is not convs[1].inputs[1]
    x = torch.randn(3, 4, 8, 8)
    session = onnxruntime.InferenceSession(serialize(graph), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"images": x.numpy()})[0], module(x).numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_is_printed_logged_or_warned(capfd, caplog, recwarn):
    export_module(seeded(Block), BLOCK_INPUT)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    logging.getLogger("after").warning("heard")
    assert [record.message for record in caplog.records if record.levelno > logging.DEBUG] == ["heard"]


def test_only_module_scopes_are_kept_of_the_exporters_notes():
    graph = export_module(seeded(Block), BLOCK_INPUT)
    assert not graph.metadata_props
    assert not graph.graph.metadata_props
    assert {key for node in graph.graph for key in node.metadata_props} == {NAME_SCOPES}
    content = serialize(graph)
    for trace in (b"site-packages", b".py", b"call_function", os.fsencode(os.path.dirname(__file__))):  # noqa: PTH120
        assert trace not in content


def test_weights_are_shared_with_the_module_until_a_pass_rewrites_them():
    module = seeded(Block)
    graph = export_module(module, BLOCK_INPUT)
    exported = graph.graph.initializers["conv.weight"].const_value.numpy()
    assert exported.ctypes.data == module.conv.weight.data_ptr()
    before = module.conv.weight.clone()
    optimize(graph)
    torch.testing.assert_close(module.conv.weight, before, rtol=0, atol=0)


def test_a_graph_in_half_or_double_precision_stays_so():
    for dtype in ("float16", "float64"):
        module = seeded(Block).to(getattr(torch, dtype))
        graph = export_module(module, TensorSpec("images", ("batch", 4, 8, 8), dtype))
        optimize(graph)
        assert Counter(node.op_type for node in graph.graph)["Conv"] == 2
        kinds = {v.dtype.numpy().name for v in graph.graph.initializers.values() if v.dtype.is_floating_point()}
        assert kinds == {dtype}


def test_several_outputs_take_the_names_they_are_given():
    class Two(nn.Module):
        def forward(self, images):
            return images + 1, images * 2

    graph = export_module(Two().eval(), BLOCK_INPUT, output_names=("sum", "product"))
    optimize(graph)
    assert [value.name for value in graph.graph.outputs] == ["sum", "product"]


class Branches(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


class Raises(nn.Module):
    def forward(self, images):
        raise ValueError("no such\nlayer")


class FixedBatch(nn.Module):
    def forward(self, images):
        return images.view(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (Branches, "its code takes another way for other values of the input"),
        (Raises, "ValueError: no such"),
        (FixedBatch, "only where dimension 0 (batch) of its input is 2"),
    ],
)
def test_what_torch_cannot_trace_is_one_line_with_the_class_and_the_cause(kind, cause, capfd):
    with pytest.raises(ExportFailed) as caught:
        export_module(kind().eval(), BLOCK_INPUT)
    assert kind.__name__ in str(caught.value)
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_training_mode_is_refused_with_the_fix():
    module = seeded(Block)
    module.bn2.train()
    with pytest.raises(ExportFailed, match=r"Block is in training mode; call \.eval\(\)"):
        export_module(module, BLOCK_INPUT)


SCRIPT = """
import sys, torch
from torch import nn
from deploykit.export import export_module
from deploykit.graph import graph_digest, optimize, serialize
from deploykit.spec import TensorSpec
torch.manual_seed(0)
layers = [nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 9)]
graph = export_module(nn.Sequential(*layers).eval(), TensorSpec("images", ("batch", 3, 32, 32), "float32"))
raw = graph_digest(serialize(graph))
optimize(graph)
sys.stderr.write(f"{raw} {graph_digest(serialize(graph))}")
"""


@pytest.mark.full
def test_two_processes_write_the_same_bytes_and_nothing_on_stdout(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed, folder in (("1", tmp_path), ("2", "/"))
    ]
    (out1, err1), (out2, err2) = (process.communicate(timeout=300) for process in processes)
    assert out1 == out2 == b""
    assert err1 == err2
    assert len(err1.split()) == 2


class Branches(nn.Module):
    """Modules and a parameter whose names are no names of Python's."""

    NAMES = ("class", "in", "None", 'a "b"', "a\\b", "a\nb", "1x", "größe")

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleDict({name: nn.Conv2d(4, 4, 1) for name in self.NAMES})
        self.register_parameter("lambda", nn.Parameter(torch.ones(4, 1, 1)))

    def forward(self, images):
        for name in self.NAMES:
            images = torch.relu(self.branches[name](images)) + images
        return images * getattr(self, "lambda")


def test_a_module_may_be_called_anything():
    module = seeded(Branches)
    graph = export_module(module, BLOCK_INPUT)
    scopes = [module_scope(node) for node in graph.graph if node.op_type == "Conv"]
    assert scopes == [f"branches.{name}" for name in Branches.NAMES]
    optimize(graph)
    x = torch.randn(3, 4, 8, 8)
    session = onnxruntime.InferenceSession(serialize(graph), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"images": x.numpy()})[0], module(x).numpy(), rtol=1e-4, atol=1e-5)
