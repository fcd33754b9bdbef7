"""What was compiled, a network layer by layer, the networks there are, and what this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from deploykit.api.checked import checked
from deploykit.api.choices import (
    Batch,
    Data,
    Targets,
    backend_of,
    batch_range,
    build_spec,
    precision_of,
    require_read,
    targets_of,
    warn_unread,
)
from deploykit.api.engines import BuiltEngine
from deploykit.api.graphs import ExportedGraph, network_of
from deploykit.api.models import Model, Network, model_of
from deploykit.api.modules import Example
from deploykit.api.workspace import StorePath, open_workspace, warn
from deploykit.errors import BackendMissing, UsageError
from deploykit.spec import (
    BuilderOptions,
    BuildSpec,
    Calibration,
    Fusions,
    ModelSpec,
    Precision,
    Progress,
    QuantizationPolicy,
    Repair,
)

if TYPE_CHECKING:
    from deploykit.backends.protocol import Backend
    from deploykit.doctor import Finding
    from deploykit.results.inspection import Inspection
    from deploykit.results.network import NetworkSummary
    from deploykit.workflow.inspect import Planned
    from deploykit.workflow.workspace import Workspace
    from deploykit.zoo.registry import Card

Inspected: TypeAlias = "Network | ExportedGraph | BuiltEngine"


@checked
def inspect(
    network: Inspected,
    *,
    example: Example | None = None,
    precision: str | Precision = "fp32",
    backend: str = "trt-rtx",
    batch: Batch = None,
    diff: Inspected | Precision | None = None,
    target: Targets = None,
    data: Data = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    tf32: bool = False,
    options: BuilderOptions | None = None,
    gpu_table: str | PathLike[str] | None = None,
    trust_engine: bool = False,
    store: StorePath = None,
    progress: Progress | None = None,
) -> Inspection:
    """Show what a network, or an engine that deploykit built, was compiled into.

    A network is built first, and its plan set beside that of the next wider precision. The plan of an engine is found
    in the store by the engine's content, or in the record beside it; the engine is opened only with `trust_engine`.

    Args:
        network: A network as `export` takes it, an exported graph, an engine, or the path of an engine file.
        example: Inputs of an `nn.Module`, as for `from_module`.
        precision: `"fp32"`, `"fp16"` or `"int8"`: of a network, or what a trusted engine from elsewhere is to be read
            as.
        backend: The compiler, of a network: `"trt"` or `"trt-rtx"`.
        batch: As for `build`: of a network, or what a trusted engine from elsewhere is to be read as.
        diff: Another plan to compare with: a precision of the same network, an engine, or another network.
        target: As for `build`; a GPU by name adds its roofline.
        data: As for `build`, of a network.
        calibration: As for `build`, of a network.
        policy: As for `build`, of a network.
        repair: As for `build`, of a network.
        fusions: As for `export`, without `"auto"`, of a network.
        keep_io: As for `build`, of a network.
        keep_fp32: As for `build`, of a network.
        tf32: As for `build`.
        options: As for `build`, of a network.
        gpu_table: As for `build`.
        trust_engine: Open an engine that this store did not build. It is native code, and needs its GPU.
        store: Folder of the artifact store; None is the graph's or engine's, $DEPLOYKIT_STORE, else `engines`.
        progress: As for `build`.

    Returns:
        The plan, its audit, its roofline and the diagnosis; `to_json()` is what `deploykit inspect --json` prints.

    Raises:
        UsageError: An option is wrong, or the two plans are for different batches.
        UntrustedArtifact: The engine file is corrupt, or its plan is not known here.
        BackendMissing: The compiler cannot be used here, or does not say what it compiled.
    """
    from deploykit.tuning.int8_layers import decided_policy
    from deploykit.workflow.batch import with_batch
    from deploykit.workflow.inspect import inspect as inspected
    from deploykit.workflow.inspect import wider_plans

    engine, (model, named, place) = _source(network, example, fusions, store)
    targets, gpu = targets_of(target, gpu_table)
    spec = build_spec(
        model.spec,
        precision=precision_of(precision),
        batch=batch_range(batch, 8),
        targets=targets,
        data=data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=named,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        tf32=tf32,
        options=options,
    )
    other = _precision(diff)
    if other and engine:
        raise UsageError(f"the engine {engine} has one precision", hint="compare it with another engine or a network")
    precisions = (spec.precision, *((other,) if other else ()))
    require_read(spec, precisions)
    warn_unread(spec, precisions)
    compiler, workspace = backend_of(backend), open_workspace(place, progress)
    if engine is None:
        spec, _ = decided_policy(workspace, with_batch(workspace, spec), gpu)
    return inspected(
        _planned(workspace, engine, spec, compiler, trusted=trust_engine),
        others=() if engine else wider_plans(workspace, spec, compiler),
        beside=_beside(workspace, diff, spec, compiler, trusted=trust_engine),
        gpu=gpu,
        tf32=tf32,
    )


def summarize(network: Network, *, example: Example | None = None) -> NetworkSummary:
    """Each layer of a network: output shape, parameters, multiply-accumulates, activations, receptive field.

    Args:
        network: A network as `export` takes it. Its weights are not read.
        example: Inputs of an `nn.Module`, as for `from_module`.

    Returns:
        The layers, for one image; `to_json()` is what `deploykit summary --json` prints.

    Raises:
        UsageError: The network is not known, or cannot be constructed.
    """
    from deploykit.workflow.summarize import summarize as summarized

    model = model_of(network, example)
    return summarized(model.spec)


@checked
def list_models(pattern: str = "", *, miniatures: bool = False) -> tuple[Card, ...]:
    """The networks of the zoo and of installed plug-ins.

    Args:
        pattern: Keep the names that contain it, or match it where it has wildcards: `"resnet*"`. Empty keeps all.
        miniatures: Also list the `test_*` networks.

    Returns:
        One card each: parameters, multiply-accumulates, input, published accuracy, paper. A plug-in without a sound
        card is warned of and left out.

    Raises:
        UnknownName: No name matches; the message has the nearest ones.
    """
    from deploykit.zoo.listing import list_cards

    return list_cards(pattern, miniatures=miniatures, warn=warn)


def doctor(*, backend: str | None = None, store: StorePath = None) -> tuple[Finding, ...]:
    """What this machine has for deploykit, and what it lacks with the command that installs it.

    Libraries are loaded and ONNX Runtime's providers run in processes of their own, some seconds in all.

    Args:
        backend: Look only at what matters to this one; None is everything.
        store: Folder of the artifact store to look at; None is $DEPLOYKIT_STORE, else `engines`.

    Returns:
        One finding per library, device, provider, folder and backend. With `backend` the last one says whether it can
        work here: run where there is a GPU, without one compile (`trt`, `trt-rtx`) or run on the CPU.

    Raises:
        UnknownName: No backend has this name.
    """
    from deploykit.doctor import examine

    return examine(None if store is None else Path(store), backend)


def _source(
    source: Inspected, example: Example | None, fusions: str | Fusions | None, store: StorePath
) -> tuple[Path | None, tuple[Model, Fusions, StorePath]]:
    """The engine file, None for a network; the network, its fusions and the store. Raises UsageError."""
    if engine := engine_path(source):
        return engine, (Model(ModelSpec(str(engine))), Fusions(), _store_of(source, store))
    found = network_of(_network(source), example, fusions, store)
    if found[1].auto:
        raise UsageError(
            "inspect does not take fusions (--fuse) auto",
            hint="build with fusions auto, then inspect the engine; or name them, such as --fuse safe,merge_siblings",
        )
    return None, found


def engine_path(source: object) -> Path | None:
    """The engine file that `source` is or names; None where it is a network."""
    from deploykit.workflow.inspect import is_engine

    if isinstance(source, BuiltEngine):
        if source.path is None or source.plan is None:
            raise BackendMissing(f"{source.flavour} does not say what it compiled", hint="inspect it with trt-rtx")
        return source.path
    if isinstance(source, str | PathLike) and not isinstance(source, Precision) and is_engine(fspath(source)):
        return Path(fspath(source))
    return None


def _store_of(source: object, store: StorePath) -> StorePath:
    return source.store if store is None and isinstance(source, BuiltEngine) else store


def _precision(beside: Inspected | Precision | None) -> Precision | None:
    if isinstance(beside, str) and beside.lower() in list(Precision):
        return Precision.parse(beside)
    return None


def _planned(
    workspace: Workspace, engine: Path | None, spec: BuildSpec, compiler: Backend, *, trusted: bool
) -> Planned:
    from deploykit.workflow.inspect import planned_engine, planned_network

    if engine is None:
        return planned_network(workspace, spec, compiler)
    return planned_engine(workspace, engine, trusted=trusted, precision=spec.precision, batch=spec.batch.optimum)


def _beside(
    workspace: Workspace, other: Inspected | Precision | None, spec: BuildSpec, compiler: Backend, *, trusted: bool
) -> Planned | None:
    if other is None:
        return None
    if precision := _precision(other):
        return _planned(workspace, None, spec.with_precision(precision), compiler, trusted=trusted)
    if engine := engine_path(other):
        return _planned(workspace, engine, spec, compiler, trusted=trusted)
    fusions = None if isinstance(other, ExportedGraph) else spec.fusions
    model, named, _ = network_of(_network(other), None, fusions, None)
    return _planned(workspace, None, replace(spec, model=model.spec, fusions=named), compiler, trusted=trusted)


def _network(source: Inspected) -> Network | ExportedGraph:
    return source.model if isinstance(source, BuiltEngine) else source
