"""`calibrate --sensitivity` in words: layers by what INT8 costs them, mixed graphs, and the options to paste."""

from __future__ import annotations

from typing import TextIO

from deploykit.data.preparation import describe_preprocessing
from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.sensitivity import Loss, MixedGraph, Sensitivity

SHOWN = 20  # layers; --json has all of them


def render_sensitivity(found: Sensitivity, *, file: TextIO | None = None) -> None:
    """Plain text on stdout or on `file`."""
    shown = found.layers[:SHOWN]
    labeled = any(layer.loss.drop is not None for layer in shown)
    render_facts(
        {
            "model": found.model,
            "weights": with_notes(found.weights, found.weights_notes),
            "ranges": f"{found.method} over {found.calibration_images} images ({found.data})",
            "preprocessing": describe_preprocessing(found.preprocessing),
            "judged by": f"{found.measured_on}; TensorRT's Q/DQ graph, executed without runtime optimizations",
            "plans": found.plan_cost_by,
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
    render_lines(["", "Mixed graphs, the layers with the largest loss in FP16:", ""], file=file)
    headings = ["in FP16", "SQNR dB", *(["top-1 lost, points [95 % CI]"] if labeled else []), "plan", ""]
    rows = [_stop(stop, len(found.layers), labeled=labeled) for stop in found.mixed_graphs]
    render_table(headings, rows, right=("SQNR dB",), file=file)
    if stop := found.chosen:
        options = " ".join(["--int8-policy rest=fp16", *(f"--int8-exclude {node}" for node in stop.kept_fp16)])
        render_lines(["", f"To build the chosen one: {options if stop.kept_fp16 else '--precision int8'}"], file=file)


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
