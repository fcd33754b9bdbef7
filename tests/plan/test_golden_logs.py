"""Three real logs, whole, and what becomes of one when a line of it takes another form or goes missing."""

import gzip
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from deploykit.errors import BuildFailed
from deploykit.plan.rtx_log import CHECKED_WITH, GRAMMAR, read_log
from deploykit.plan.summary import summarize
from deploykit.spec import Precision

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = tomllib.loads((GOLDEN / "expected.toml").read_text())
VERSION = "tensorrt-rtx 1.7.1"


def golden(name):
    return gzip.decompress((GOLDEN / f"{name}.log.gz").read_bytes()).decode()


MOBILENET = golden("mobilenet-fp16")
LENET = golden("lenet5-fp32")


def read(log, precision="fp16", compiler=VERSION):
    return read_log(log, compiler=compiler, precision=Precision(precision), batch=8, targets=("sm_89",), engine_bytes=1)


def edited(pattern, replacement, log=MOBILENET, count=1):
    text, found = re.subn(pattern, replacement, log, count=count, flags=re.MULTILINE)
    assert found >= 1
    assert text != log
    return text


def test_every_log_has_its_totals_and_they_are_small_files():
    assert {path.name.removesuffix(".log.gz") for path in GOLDEN.glob("*.gz")} == set(EXPECTED)
    assert all(path.stat().st_size < 60_000 for path in GOLDEN.iterdir())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_log(name):
    wanted = EXPECTED[name]
    plan = read(golden(name), wanted["precision"])
    found = summarize(plan)
    assert plan.source == f"build log (format v{GRAMMAR})"
    assert (found.kernels, found.kinds, found.bytes_moved) == (
        wanted["kernels"],
        wanted["kinds"],
        wanted["bytes_moved"],
    )
    assert (found.weights_bytes, found.activation_bytes, found.scratch_bytes) == (
        wanted["weights_bytes"],
        wanted["activation_bytes"],
        wanted["scratch_bytes"],
    )
    assert Counter(plan.weighted.values()) == wanted["weighted"]
    assert (found.weighted_reads, found.unmatched, found.other_precision) == (wanted["weighted_reads"], (), {})


CLASSIFIER = r"^(Name: __myl_FcAdd\w*_)31, "
MUTATIONS = [
    # the layer section: forms
    (r"^Name: (\S+_myl0_3), ", r"Layer: \1, ", "a layer in a form"),
    (r"^Name: (\S+_myl0_3), ", r"Name: \1; ", "a layer in a form"),
    (r"LayerType: correlation", "Type: correlation", "a layer in a form"),
    (r"^(Name: .*), LayerType: (correlation), (.*)$", r"\1, \3, LayerType: \2", "a layer in a form"),
    (
        r"Constants: (\[.*?\]), Outputs: (.*), TacticName",
        r"Outputs: \2, Constants: \1, TacticName",
        "a layer in a form",
    ),
    (r"^Name: (.*)_myl0_3, Lay", r"Name: \1, Lay", "a layer in a form"),
    (r"^(Name: \S+_myl0_5,)", r"[V] \1", "a layer in a form"),
    (r"^(Name: \S+_myl0_5,)", r"Kernels: 31\n\1", "a layer in a form"),
    (r"Metadata: \[ONNX Layer: (\S+)\]", r"Metadata: [Torch Layer: \1]", "origin in a form"),
    # tensors
    (r"Datatype: Half, Format: ([^{}]*?) \}", r"Format: \1, Datatype: Half }", "a tensor in a form"),
    (r"Dimensions: (\[[^]]*\]), Strides: (\[[^]]*\])", r"Strides: \2, Dimensions: \1", "a tensor in a form"),
    (r"(StrideOrder: \[[^]]*\]), Datatype", r"\1, Location: Host, Datatype", "a tensor in a form"),
    (r", Format: \([^{}]*? \}", " }", "a tensor in a form"),
    (r"Datatype: Half", "Datatype: Fp4", "unknown type Fp4"),
    # numbering, ends, and what the log says of itself
    (r"^Name: \S+_myl0_3, .*\n", "", "has layer 4 where layer 3 is due"),
    (CLASSIFIER, r"\g<1>32, ", "has layer 32 where layer 31 is due"),
    (r"^(Name: \S+_myl0_7, .*\n)", r"\1\1", "has layer 7 where layer 8 is due"),
    (r"^Name: \S+_myl0_31, .*\n", "", "no layer that writes 'logits'"),
    (r"^I/O Tensors:$", "Bindings:", "breaks off after the layers, or goes on in an unknown form"),
    (r"^ Name: logits, IOMode: Output.*\n", "", "lists 1 I/O tensors, and detected"),
    (r"^ Name: logits, IOMode: Output", " Name: logits, Mode: Output", "an I/O tensor in a form"),
    (r"^Detected 1 inputs and 1 output", "Detected 2 inputs and 1 output", "lists 2 I/O tensors"),
    (r"^Detected 1 inputs.*\n", "", "detected none"),
    (r"^Adding 1 engine\(s\)", "Adding 2 engine(s)", "several engines"),
    (r"^Adding 1 engine\(s\).*\n", "", "states 0 times, not once: how many engines"),
    # memory
    (r"^Total Weights Memory: \d+ bytes\n", "", "states 0 times, not once: weights memory"),
    (r"^Total Activation Memory: (\d+) bytes$", r"Activation Memory: \1", "not once: activation memory"),
    (r"^(Max Scratch Memory: \d+ bytes\n)", r"\1\1", "states 2 times, not once: scratch memory"),
    (r"^(Max Scratch Memory: \d+)\d bytes$", r"\1 bytes", "bytes of scratch memory, and its layers"),
    (r"^Layer: .* Host Persistent: .*\n", "", "lists the memory of 0 and skips 0 of 1 layers"),
    (r"^After reformat layers: 1 ", "After reformat layers: 2 ", "of 2 layers"),
    (r"^Skipped printing .*\n", "", "not once: how many layers need no memory"),
    # the parser's lines
    (r"^Parsing node: (\S+) \[Conv\]$", r"Parsing node: \1 (Conv)", "an ONNX node in a form"),
    (r"^Parsing node: (\S+) \[Conv\]\n", "", "which was never parsed"),
]


@pytest.mark.parametrize(("pattern", "replacement", "complaint"), MUTATIONS)
def test_another_form_is_an_error_that_asks_for_a_report(pattern, replacement, complaint):
    with pytest.raises(BuildFailed, match=re.escape(complaint)) as caught:
        read(edited(pattern, replacement))
    assert caught.value.hint == "please report this line together with the version, tensorrt-rtx 1.7.1"


@pytest.mark.parametrize("log", [MOBILENET, LENET], ids=["mobilenet", "lenet5"])
def test_a_log_that_breaks_off_anywhere_behind_the_headline_is_an_error(log):
    lines = log.split("\n")
    for end in range(lines.index("Layers:") + 1, len(lines) - 1):
        if any(line.startswith("Adding 1 engine(s)") for line in lines[:end]):
            break
        with pytest.raises(BuildFailed):
            read("\n".join(lines[:end]))


@pytest.mark.parametrize("log", [MOBILENET, LENET], ids=["mobilenet", "lenet5"])
def test_every_layer_line_counts(log):
    """One layer less is noticed, whichever it is."""
    lines = log.split("\n")
    start = lines.index("Layers:") + 1
    for index in range(start, lines.index("", start)):
        with pytest.raises(BuildFailed):
            read("\n".join(lines[:index] + lines[index + 1 :]))


def test_weighted_nodes_do_not_vanish_with_the_form_of_the_parsers_lines():
    with pytest.raises(BuildFailed, match="which was never parsed"):
        read(edited(r"^Parsing node: ", "Parsing ONNX node: ", count=0))


def test_a_node_of_a_function_is_known_by_its_own_name():
    log = edited(r"\[ONNX Layer: classifier\]", "[ONNX Layer: classifier | block1 (Block)]", count=0)
    assert read(log).layers[-1].nodes[0] == "classifier | block1 (Block)"


def test_words_in_a_documentation_string_are_no_headline():
    log = edited(r"^Doc string: .*$", "Doc string: as printed\nLayers:\nName: none")
    assert read(log).layers == read(MOBILENET).layers


@pytest.mark.parametrize("compiler", ["tensorrt-rtx 1.8.0", "tensorrt-rtx 2.0", "tensorrt-rtx 1.70.1"])
def test_another_version_is_read_and_named_where_it_cannot_be(compiler):
    assert CHECKED_WITH == ("1.7",)
    assert read(MOBILENET, compiler=compiler).kernels == read(MOBILENET).kernels
    with pytest.raises(BuildFailed) as caught:
        read(edited(r"LayerType: correlation", "Type: correlation"), compiler=compiler)
    assert caught.value.hint == (
        "build log format v1 is that of tensorrt-rtx 1.7: install that, and please report this line together with the "
        f"version, {compiler}"
    )
