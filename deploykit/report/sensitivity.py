"""`calibrate --sensitivity` in words: layers by what INT8 costs them, mixed graphs, and the options to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TextIO

from deploykit.data.preparation import describe_preprocessing
from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.sensitivity import Loss, MixedGraph, Sensitivity

SHOWN = 20  # layers; --json has all of them
MIXED = (
    "Mixed graphs: the most sensitive layers kept out of INT8 (loss measured with them in FP32, plan compiled with "
    "them in FP16):"
)


def render_sensitivity(found: Sensitivity, *, asked: Sequence[str], file: TextIO | None = None) -> None:
    """Plain text on stdout or on `file`; `asked` are MODEL and its options, as `build` takes them."""
    shown = found.layers[:SHOWN]
    labeled = any(layer.loss.drop is not None for layer in shown)
    render_facts(
        {
            "model": found.model,
            "weights": with_notes(found.weights, found.weights_notes),
            "ranges": f"{found.method} over {found.calibration_images} images ({found.data})",
            "preprocessing": describe_preprocessing(found.preprocessing),
            "measured on": f"{found.measured_on}; TensorRT's Q/DQ graph, executed without runtime optimizations",
            "plans": f"{found.plan_cost_by}; shown, they do not decide",
        },
        file=file,
    )
    render_lines(
        [
            "",
            f"One layer in INT8, all others in float: the {len(shown)} of {len(found.layers)} with the largest loss:",
            "",
        ],
        file=file,
    )
    headings = ["layer", "kind", "SQNR dB", *(["top-1 lost, points [95 % CI]"] if labeled else [])]
    lines = [[layer.node, layer.kind, *_loss(layer.loss)][: len(headings)] for layer in shown]
    render_table(headings, lines, right=("SQNR dB",), file=file)
    render_lines(["", MIXED, ""], file=file)
    headings = ["kept out of INT8", "SQNR dB", *(["top-1 lost, points [95 % CI]"] if labeled else []), "plan", ""]
    rows = [_stop(stop, len(found.layers), labeled=labeled) for stop in found.mixed_graphs]
    render_table(headings, rows, right=("SQNR dB",), file=file)
    if chosen := found.chosen:
        rule = "Chosen: the fewest layers kept out of INT8 with which the loss is within the limit."
        command = f"To build the chosen one: {build_command(chosen.kept_fp16, asked)}"
        render_lines(["", rule, command], file=file)


def build_command(kept_fp16: Sequence[str], asked: Sequence[str]) -> str:
    """The command line that builds a mixed graph; `asked` are MODEL and its options."""
    mixed = ["--int8-policy", "rest=fp16"] if kept_fp16 else []
    excluded = [word for node in kept_fp16 for word in ("--int8-exclude", node)]
    return shlex.join(["deploykit", "build", *asked, "--precision", "int8", *mixed, *excluded])


def _stop(stop: MixedGraph, layers: int, *, labeled: bool) -> list[str]:
    loss = _loss(stop.loss)
    return [
        f"{len(stop.kept_fp16)} of {layers}",
        *loss[: 2 if labeled else 1],
        stop.plan,
        "chosen" if stop.chosen else "",
    ]


def _loss(loss: Loss) -> list[str]:
    drop = ""
    if loss.drop is not None and loss.interval is not None:
        drop = f"{loss.drop:+.2f} [{loss.interval[0]:+.2f}, {loss.interval[1]:+.2f}]"
    return [f"{loss.sqnr_db:.1f}", drop]
