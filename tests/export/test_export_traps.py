"""Where exporters and runtimes are known to differ from torch without a word: each must come out as torch computes it.

Every test also computes what falling into the trap would give, and that this is far away.
"""

import copy
from collections.abc import Callable

import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deploykit.errors import UntrustedArtifact
from deploykit.export import export_module
from deploykit.graph import check, optimize, serialize
from deploykit.graph.rewrite import module_scope
from deploykit.spec import ModelSpec, TensorSpec
from deploykit.zoo.registry import build_module, input_spec
from deploykit.zoo.training import WithAuxiliary

EXACT = 1e-6  # of values around 1: a few roundings of float32
FAR = 1e-2
CHANNELS = 6


def images(batch: int, side: int, channels: int = CHANNELS) -> Tensor:
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(batch))


def optimized(module: nn.Module, side: int) -> ir.Model:
    graph = export_module(module.eval(), TensorSpec("images", ("batch", CHANNELS, side, side), "float32"))
    optimize(graph)
    check(graph)
    return graph


def run(content: bytes, x: Tensor, *, as_written: bool = False) -> Tensor:
    """The first output by ONNX Runtime, its own optimizer on, or every node as it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def parsed_shape(content: bytes) -> tuple[int, ...]:
    """The shape of the first output as TensorRT-RTX reads the graph; -1 is a free dimension."""
    trt = pytest.importorskip("tensorrt_rtx")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(content), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    return tuple(network.get_output(0).shape)


def assert_as_torch(module: nn.Module, side: int, wrong: Callable[[Tensor], Tensor]) -> bytes:
    """At batch 1 and 5 the graph computes what the module does in float64, and not what `wrong` does."""
    content = serialize(optimized(module, side))
    exact = copy.deepcopy(module).double()
    for batch in (1, 5):
        x = images(batch, side)
        with torch.no_grad():
            wanted, trap = exact(x.double()), wrong(x.double())
        for as_written in (False, True):
            got = run(content, x, as_written=as_written)
            assert got.shape == wanted.shape
            assert (got.double() - wanted).abs().max() < EXACT
        assert trap.shape != wanted.shape or (trap - wanted).abs().max() > FAR
    assert parsed_shape(content) == (-1, *wanted.shape[1:])
    return content


# Side, kernel, stride, padding: the last window hangs over the padded edge, or over the edge where there is no padding.
HANGING = [
    (6, 3, 2, 1),
    pytest.param(8, 5, 4, 1, marks=pytest.mark.full),
    (10, 3, 3, 0),
    pytest.param(7, 2, 2, 0, marks=pytest.mark.full),
]


@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), HANGING)
@pytest.mark.parametrize("counted", [True, False])
def test_average_windows_over_the_edge_are_divided_by_what_torch_divides_by(side, kernel, stride, padding, counted):
    module = nn.AvgPool2d(kernel, stride, padding, ceil_mode=True, count_include_pad=counted)

    def divided_by_the_kernel(x):
        """The part of a window beyond the padded edge counts as zeros."""
        return functional.avg_pool2d(functional.pad(x, (padding, padding + stride) * 2), kernel, stride)[
            ..., : module(x).shape[2], : module(x).shape[3]
        ]

    assert_as_torch(module, side, divided_by_the_kernel)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counted", [True, False])
def test_averages_count_the_padding_or_leave_it_out(counted, ceil_mode):
    module = nn.AvgPool2d(3, 2, 1, ceil_mode=ceil_mode, count_include_pad=counted)
    other = nn.AvgPool2d(3, 2, 1, ceil_mode=ceil_mode, count_include_pad=not counted)
    assert_as_torch(module, 6, other)


@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), HANGING)
def test_ceil_mode_of_a_maximum_is_not_lost(side, kernel, stride, padding):
    module = nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)
    assert_as_torch(module, side, nn.MaxPool2d(kernel, stride, padding))


@pytest.mark.parametrize("kind", [nn.AvgPool2d, nn.MaxPool2d])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [(5, 2, 2, 1), *(pytest.param(*sizes, marks=pytest.mark.full) for sizes in ((5, 2, 4, 1), (9, 4, 4, 2)))],
)
def test_ceil_mode_adds_no_window_that_starts_in_the_padding(kind, side, kernel, stride, padding):
    module = kind(kernel, stride, padding, ceil_mode=True)

    def one_more(x):
        return kind(kernel, stride, padding)(functional.pad(x, (0, stride, 0, stride)))

    assert one_more(images(1, side)).shape[2] == module(images(1, side)).shape[2] + 1 == _rounded_up(module, side)
    content = assert_as_torch(module, side, one_more)
    (node,) = (node for node in onnx.load_from_string(content).graph.node if node.op_type.endswith("Pool"))
    assert not {attribute.name: attribute.i for attribute in node.attribute}.get("ceil_mode")


def _rounded_up(module, side):
    return -(-(side + 2 * module.padding - module.kernel_size) // module.stride) + 1


@pytest.mark.parametrize(
    ("kernel", "found", "ceil_mode"),
    [((2, 2), (4, 3), 0), ((3, 2), (4, 3), 1)],  # of 6 rows: 4 windows however rounded; 4 rounded up and none left out
)
def test_each_axis_is_looked_at(kernel, found, ceil_mode):
    """Of 5 columns torch makes 3 windows, the formula 4; the cure needs an axis beside it that may be rounded down."""
    module = nn.MaxPool2d(kernel, 2, 1, ceil_mode=True).eval()
    graph = export_module(module, TensorSpec("images", ("batch", CHANNELS, 6, 5), "float32"))
    (node,) = graph.graph
    assert tuple(node.outputs[0].shape)[2:] == found
    assert node.attributes.get_int("ceil_mode") == ceil_mode
    if ceil_mode:
        with pytest.raises(UntrustedArtifact, match=r"shape differ in dimension 3: \(4\) vs \(3\)"):
            check(graph)
    else:
        assert parsed_shape(serialize(graph)) == (-1, CHANNELS, *found)


@pytest.mark.parametrize("size", [2, 4])
def test_local_response_norm_of_an_even_size_looks_at_torchs_channels(size):
    """Before and behind channel c: torch size // 2 and (size - 1) // 2, ONNX's operator the other way round."""
    module = nn.LocalResponseNorm(size, alpha=1.0, beta=0.75, k=1.0)
    assert_as_torch(module, 4, lambda x: module(x.flip(1)).flip(1))


def test_local_response_norm_of_an_odd_size_divides_by_its_size_at_the_edge_too():
    module = nn.LocalResponseNorm(5, alpha=1.0, beta=0.75, k=1.0)

    def mean_of_what_is_there(x):
        windows = [x[:, max(c - 2, 0) : c + 3].square().mean(1) for c in range(CHANNELS)]
        return x / (1 + torch.stack(windows, 1)) ** 0.75

    assert_as_torch(module, 4, mean_of_what_is_there)


def equal_windows(output: int) -> Callable[[Tensor], Tensor]:
    """What a fixed pooling makes of an adaptive one: windows of one size, one stride apart."""

    def pooled(x):
        stride = x.shape[-1] // output
        return functional.avg_pool2d(x, x.shape[-1] - (output - 1) * stride, stride)

    return pooled


@pytest.mark.parametrize(
    ("side", "output", "wrong"),
    [
        (10, 7, equal_windows(7)),
        (7, 4, equal_windows(4)),
        (3, 7, lambda x: functional.interpolate(x, size=7)),
        (7, (2, 5), lambda x: functional.avg_pool2d(x, (4, 3), (3, 1))),
    ],
)
def test_adaptive_averages_of_sizes_that_do_not_divide(side, output, wrong):
    assert_as_torch(nn.AdaptiveAvgPool2d(output), side, wrong)


class Headed(nn.Module):
    """A classifier with an auxiliary one, which `always` answers outside training too."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always
        self.body = nn.Conv2d(CHANNELS, 8, 3)
        self.head = nn.Linear(8, 3)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor | WithAuxiliary:
        features = self.body(x).mean((2, 3))
        if self.training or self.always:
            return WithAuxiliary(self.classifier(features), (self.head(features),))
        return self.classifier(features)


@pytest.mark.parametrize("always", [False, True])
def test_an_auxiliary_head_is_exported_only_where_it_answers(always):
    module = Headed(always=always).eval()
    spec = TensorSpec("images", ("batch", CHANNELS, 5, 5), "float32")
    graph = export_module(module, spec, output_names=("logits", "auxiliary")[: 1 + always])
    optimize(graph)
    assert ("head" in {module_scope(node) for node in graph.graph}) == always
    assert any(name.startswith("head.") for name in graph.graph.initializers) == always
    assert [value.name for value in graph.graph.outputs] == ["logits", "auxiliary"][: 1 + always]
    x = images(3, 5)
    with torch.no_grad():
        exact = copy.deepcopy(module).double()
        features = exact.body(x.double()).mean((2, 3))
        wanted, other = exact.classifier(features), exact.head(features)
    got = run(serialize(graph), x).double()
    assert (got - wanted).abs().max() < EXACT
    assert (got - other).abs().max() > FAR


class Flat(nn.Module):
    """Reshapes where a batch size gets written down by mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(2)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(CHANNELS * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.norm(x)).flatten(1))


def test_the_batch_is_not_frozen():
    module = Flat().eval()
    content = assert_as_torch(module, 5, lambda x: x[:, 0, 0, :3])
    for value in [*onnx.load_from_string(content).graph.input, *onnx.load_from_string(content).graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    frozen = export_module(module, TensorSpec("images", (2, CHANNELS, 5, 5), "float32"))
    optimize(frozen)
    with pytest.raises(Exception, match=r"Got: 5 Expected: 2"):
        run(serialize(frozen), images(5, 5))


@pytest.mark.parametrize("size", [4, 31, 45])
def test_other_image_sizes_are_in_the_graph_and_exact(size):
    spec = ModelSpec("test_convnet", image_size=size)
    module = build_module(spec)
    graph = export_module(module, input_spec(spec))
    optimize(graph)
    content = serialize(graph)
    exact = copy.deepcopy(module).double()
    for batch in (1, 5):
        x = images(batch, size, 3)
        with torch.no_grad():
            wanted = exact(x.double())
        assert (run(content, x).double() - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert parsed_shape(content) == (-1, *wanted.shape[1:])
    with pytest.raises(Exception, match=r"index: 2 Got: 32 Expected: "):
        run(content, images(1, 32, 3))
