"""Which layers INT8 hurts, and the fewest to keep in FP16 so that what is left of the accuracy is enough.

Every layer is tried by itself: the graph with this one in INT8 and the rest in float, against the float graph, by the
measures of a parity verdict as one figure in dB (`parity.closeness_db`) and, where the images have labels, by top-1.
Then layers are taken out of INT8, the most harmful first, until the aim is reached; what turns out not to be needed
goes back in, the least harmful first. Both are measured with all layers together, since errors add up and cancel; what
each stop costs is read from the compiled plan.

Trials run the typed graph of TensorRT's placement literally, node by node in float, so they do not depend on this CPU.
FP16's own error, some thousandths of INT8's, is left out of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.data.inputs import calibration_inputs, inputs_for
from deploykit.data.labeled import Labels, labeled_inputs, require_max_drop
from deploykit.errors import BackendMissing, BuildFailed, GateFailed, UnsupportedGraph, UsageError
from deploykit.graph.rewrite import node_name
from deploykit.ort_session import compute, open_session
from deploykit.parity import Kind, closeness_db, joined, output_kinds
from deploykit.parity.accuracy import Flips, Predictions
from deploykit.plan.gpus import Gpu
from deploykit.precision.int8.policy import choose, kind
from deploykit.precision.int8.preconditions import require_plain
from deploykit.precision.int8.quantize import quantize
from deploykit.precision.int8.weighted import weighted_ops
from deploykit.results.calibration import CalibrationSource
from deploykit.results.sensitivity import LayerLoss, Loss, MixedGraph, Sensitivity
from deploykit.spec import (
    TENSORRT,
    BuildSpec,
    Feed,
    Precision,
    QuantizationPolicy,
)
from deploykit.tuning.cost import PlanCostModel
from deploykit.workflow.calibrate import calibrate
from deploykit.workflow.export import Exported
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    from deploykit.precision.calibrate.table import CalibrationTable

UNLABELLED, LABELLED = 16, 512  # images that a trial is judged by
RUN = 32  # images at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What INT8 has to keep: points of top-1 at most lost, SQNR of the outputs at least, dB. None: not asked for."""

    max_drop: float | None = None
    min_sqnr: float | None = None

    def __post_init__(self) -> None:
        require_max_drop(self.max_drop)
        if self.min_sqnr is not None and not 0 <= self.min_sqnr <= 200:
            raise UsageError(f"--min-sqnr is {self.min_sqnr:g}", hint="give decibels: 20 is a usual limit for INT8")

    def __bool__(self) -> bool:
        return self.max_drop is not None or self.min_sqnr is not None

    def met_by(self, loss: Loss) -> bool:
        enough = self.min_sqnr is None or loss.sqnr_db >= self.min_sqnr
        return enough and (self.max_drop is None or loss.drop is None or loss.drop <= self.max_drop)


def measure(
    workspace: Workspace, exported: Exported, spec: BuildSpec, *, aim: Aim, images: int | None, gpu: Gpu | None
) -> Sensitivity:
    """Layer by layer, and the search where there is an `aim`.

    Raises UsageError for an aim of top-1 on images without labels, GateFailed where not even all layers in float reach
    the aim, UnsupportedGraph where no layer can be quantized, and as calibration does.
    """
    spec = spec.with_precision(Precision.INT8)
    table, calibration = calibrate(workspace, exported, spec)
    trials = _Trials(workspace, exported, spec, table, calibration, images, labeled=aim.max_drop is not None)
    return _SensitivitySearch(trials, aim, gpu).result()


@dataclass
class _Trials:
    """Measures graphs with any set of layers in INT8; the images and the float graph's answers are kept."""

    workspace: Workspace
    exported: Exported
    spec: BuildSpec
    table: CalibrationTable
    calibration: CalibrationSource
    images: int | None
    labeled: bool
    known: dict[frozenset[str], Loss] = field(default_factory=dict)

    @cached_property
    def network(self) -> Any:
        return read_graph(self.exported.path)

    @cached_property
    def layers(self) -> dict[str, str]:
        """Weighted layers that INT8 can express and the policy does not leave: name -> kind."""
        copy = self.network.clone()
        require_plain(copy)
        kept, _ = choose(weighted_ops(copy, TENSORRT)[0], self.policy(()))
        if not kept:
            raise UnsupportedGraph("no layer can be quantized to INT8", hint="use fp32 or fp16")
        return {node_name(op.node): kind(op) for op in kept}

    def loss(self, left: frozenset[str]) -> Loss:
        """With the layers in `left` in float and all others in INT8."""
        if left not in self.known:
            graph = self.network.clone()
            quantize(graph, self.table, TENSORRT, self.policy(left), clip=self.spec.repair.clip)
            self.known[left] = self._against_float(self._outputs(open_session(graph, optimize=False)))
        return self.known[left]

    @cached_property
    def feeds(self) -> tuple[list[Feed], Labels | None, str]:
        """The batches, their labels if there are any, and what they are in words."""
        if self.labeled:
            if not isinstance(self.spec.data, Path):
                raise UsageError("--max-drop needs labeled images", hint="name them with --data, or use --min-sqnr")
            seen = calibration_inputs(self.exported, self.spec)
            found = labeled_inputs(
                self.exported, self.spec.data, limit=self.images or LABELLED, without=frozenset(seen.identities)
            )
            batches = list(found.batches(self.exported.run_length(1, RUN)))
            labels = np.concatenate([truth for _, truth in batches])
            return [feed for feed, _ in batches], labels, f"{len(labels)} labeled images of {found.source}"
        shown = inputs_for(self.exported, "test", count=self.images or UNLABELLED, batch=1, data=self.spec.data)
        return list(shown.feeds()), None, f"{len(shown)} {shown.source}"

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        return output_kinds(self.network)

    @cached_property
    def exact(self) -> dict[str, Any]:
        return self._outputs(open_session(self.network.clone(), optimize=False))

    @cached_property
    def predicted(self) -> Predictions | None:
        """What the float graph predicts; None without labels."""
        labels = self.feeds[1]
        return None if labels is None else Predictions.of(self._only(self.exact), labels)

    def _outputs(self, session: Any) -> dict[str, Any]:
        names = [spec.name for spec in self.exported.outputs]
        answers = [compute(session, names, feed) for feed in self.feeds[0]]
        selected = {name for name, kind in self.kinds.items() if kind.name == "selected"}
        return joined(answers, self.exported.batch_axes, selected)

    def _against_float(self, found: dict[str, Any]) -> Loss:
        sqnr = closeness_db(found, self.exact, self.kinds)
        if self.predicted is None:
            return Loss(sqnr)
        flips = Flips.between(self.predicted, Predictions.of(self._only(found), self.predicted.labels))
        return Loss(sqnr, flips.drop, flips.interval)

    @staticmethod
    def _only(outputs: dict[str, Any]) -> Any:
        """The logits: images are labeled for networks with one output."""
        (logits,) = outputs.values()
        return logits

    def policy(self, left: Collection[str], rest: Precision = Precision.FP32) -> QuantizationPolicy:
        """That of the request, with the layers in `left` in `rest`."""
        return replace(self.spec.policy, exclude=(*self.spec.policy.exclude, *sorted(left)), rest=rest)


@dataclass
class _SensitivitySearch:
    trials: _Trials
    aim: Aim
    gpu: Gpu | None

    def result(self) -> Sensitivity:
        trials, layers = self.trials, list(self.trials.layers)
        found: list[LayerLoss] = []
        stage = f"try {len(layers)} layers in INT8"
        with trials.workspace.timed(stage):
            for number, name in enumerate(layers):
                trials.workspace.progress(stage, number, len(layers))
                loss = trials.loss(frozenset(layers) - {name})
                found.append(LayerLoss(name, trials.layers[name], loss))
        found.sort(key=lambda layer: (-(layer.loss.drop or 0.0), layer.loss.sqnr_db))
        order = [layer.node for layer in found]
        if self.aim:
            with trials.workspace.timed("search the mixed graph"):
                chosen: frozenset[str] | None = self._pruned(self._prefix(order), order)
        else:
            chosen = None
        counts = sorted({0, *(2**power for power in range(len(order).bit_length())), len(order) // 2})
        sets = [frozenset(order[:count]) for count in counts if count < len(order)]
        return Sensitivity(
            model=trials.exported.model.label,
            **trials.exported.weights.facts(),
            calibration_images=trials.table.images,
            data=trials.calibration.table or trials.calibration.data,
            preprocessing=trials.calibration.preprocessing,
            measured_on=trials.feeds[2],
            plan_cost_by=self._pricing.objective,
            method=trials.table.method,
            layers=tuple(found),
            mixed_graphs=self._mixed_graphs(sets, chosen),
        )

    def _prefix(self, order: Sequence[str]) -> int:
        """The shortest run of the most harmful layers whose absence meets the aim, as far as bisection can tell.

        It begins with none and doubles: top-1 goes up and down with single images, so what lies far out says little.
        """
        most = len(order) - 1  # at least one layer stays in INT8
        low, high = 0, 0
        while not self._meets(frozenset(order[:high])):
            if high == most:
                raise GateFailed(
                    "even with only one layer in INT8 the limit is missed",
                    hint="build with --precision fp16, raise --max-drop or lower --min-sqnr",
                )
            low, high = high + 1, min(most, max(1, 2 * high))
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._meets(frozenset(order[:middle])) else (middle + 1, high)
        return high

    def _pruned(self, count: int, order: Sequence[str]) -> frozenset[str]:
        """Without those of the first `count` that can go back into INT8, the least harmful tried first."""
        left = set(order[:count])
        for name in reversed(order[:count]):
            if self._meets(frozenset(left - {name})):
                left.discard(name)
        return frozenset(left)

    def _meets(self, left: frozenset[str]) -> bool:
        return self.aim.met_by(self.trials.loss(left))

    @cached_property
    def _pricing(self) -> PlanCostModel:
        return PlanCostModel(self.trials.spec, self.gpu)

    def _mixed_graphs(self, sets: list[frozenset[str]], chosen: frozenset[str] | None) -> tuple[MixedGraph, ...]:
        wanted = sorted({*sets, *({chosen} if chosen is not None else ())}, key=lambda left: (len(left), sorted(left)))
        graphs: list[MixedGraph] = []
        for left in wanted:
            self.trials.workspace.progress("compile mixed graphs", len(graphs), len(wanted))
            loss = self.trials.loss(left)
            graphs.append(MixedGraph(tuple(sorted(left)), loss, self._plan(left), left == chosen))
        return tuple(graphs)

    def _plan(self, left: frozenset[str]) -> str:
        spec = replace(self.trials.spec, policy=self.trials.policy(left, Precision.FP16))
        try:
            return str(PlanCostModel(spec, self.gpu).cost(self.trials.network))
        except (BackendMissing, BuildFailed, GateFailed, UnsupportedGraph) as error:
            return str(error)
