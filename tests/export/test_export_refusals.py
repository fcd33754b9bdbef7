"""What cannot be exported: what it is in the network's own code, and what to write instead, in one line."""

import pytest
import torch
from torch import nn

from deploykit.errors import ExportFailed, UsageError
from deploykit.export import export_module
from deploykit.modules.torch_errors import explain
from deploykit.spec import TensorSpec

IMAGES = TensorSpec("images", ("batch", 3, 4, 4), "float32")


class Steers(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x


class Counts(nn.Module):
    def forward(self, x):
        while x.abs().mean() < 10:
            x = x * 2
        return x


class Compares(nn.Module):
    def forward(self, x):
        return x if torch.equal(x, x.abs()) else -x


class Decomposes(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


class Loops(nn.Module):
    def forward(self, x):
        return torch.stack([image * 2 for image in x])


class Needs(nn.Module):
    def forward(self, x, *, scale):
        return x * scale


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.jit.script(nn.Conv2d(3, 4, 3))

    def forward(self, x):
        return self.body(x)


class Names(nn.Module):
    def forward(self, x):
        return x, "a text"


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            Steers,
            r"^torch\.onnx could not export Steers: its code takes another way for other values of the input "
            r"\(test_export_refusals\.py:\d+: if x\.sum\(\) > 0:\); choose with torch\.where or torch\.cond",
        ),
        (Counts, r"takes another way .*: while x\.abs\(\)\.mean\(\) < 10:\); choose"),
        (Compares, r"aten\.equal hands a tensor's value to Python \(test_export_refusals\.py:.*\); choose"),
        (Decomposes, r"operator aten\._linalg_svd has no counterpart in ONNX; write it with operators that ONNX has"),
        (Loops, r"Loops works only where dimension 0 \(batch\) of its input is 2, .* do not loop over the images"),
        (Needs, r"its forward needs more than the input: 'scale'; wrap it in a module"),
        (Names, r"could not export Names: the network returns a str at output_1; return tensors"),
    ],
)
def test_the_reason_and_the_fix_stand_in_one_line(network, words):
    with pytest.raises(ExportFailed, match=words) as caught:
        export_module(network().eval(), IMAGES, output_names=("y",))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_recognized_before_it_is_traced():
    with pytest.raises(ExportFailed, match=r"body is a TorchScript module; build it from its Python class"):
        export_module(Scripted().eval(), IMAGES)


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (ValueError("first\nsecond"), "ValueError: first", ""),
        (ValueError(), "ValueError", ""),
        (UsageError("wrong", hint="do that"), "wrong", "do that"),
        (TypeError("Kw.forward() missing 1 required keyword-only argument: 'scale'"), "its forward needs more", "wrap"),
        (TypeError("forward() missing 2 required positional arguments: 'a' and 'b'"), "input: 'a' and 'b'", "wrap"),
        (RuntimeError("There was no fake impl registered for <CustomOpDef(my::op)>. This"), "my::op does", "register"),
        (RuntimeError("Found no NVIDIA driver on your system. Please"), "asks for a GPU", "device=x.device"),
        (AssertionError("Torch not compiled with CUDA enabled"), "asks for a GPU", "device=x.device"),
    ],
)
def test_messages_are_recognized_by_what_they_say(error, what, hint):
    found = explain(error)
    assert what in found.what
    assert hint in found.hint
    assert bool(hint) == bool(found.hint)


def advise():
    try:
        raise ValueError("the reason")
    except ValueError as error:
        raise RuntimeError("pages of advice") from error


def test_the_innermost_cause_counts():
    with pytest.raises(RuntimeError) as caught:
        advise()
    assert explain(caught.value).what.startswith("ValueError: the reason (test_export_refusals.py:")
