"""ModelSpec -> the recipe for a module: its weights in the store, where every process finds the same numbers.

A network of the zoo is keyed by what its weights are made from, so that a second request needs no framework. A factory
is called, and run on one seeded input, every time: which numbers it returns, and what it read to make them, its sources
alone do not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deploykit.backends.protocol import ModuleSource
from deploykit.data.noise import can_draw, noise_feeds
from deploykit.host import library_versions
from deploykit.io.door import digest_file, require_file
from deploykit.io.loader import checkpoint_format, external_files
from deploykit.modules.live import taken
from deploykit.spec import ModelSpec, TensorSpec, WeightsOrigin
from deploykit.store import Entry, Writer
from deploykit.workflow.facts import OutputFacts, StateFacts
from deploykit.workflow.workspace import Workspace
from deploykit.zoo import registry
from deploykit.zoo.own import repeatable
from deploykit.zoo.sources import imported_names

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from deploykit.weights_file import Loaded


STATE, PICKLE = "weights.safetensors", "module.pickle"  # files of an entry
TRACING = "export to ONNX"  # the stage
PROBE_SEED = 0x9B0E  # of the noise that tells two networks of one function apart


class Resolved(NamedTuple):
    """The recipe for a network, where its weights are from, and the parts of a key that tell it from any other."""

    source: ModuleSource
    weights: WeightsOrigin
    identity: Mapping[str, Any]


def resolve(workspace: Workspace, model: ModelSpec) -> Resolved:
    """The recipe for the module of `model`, which is no `.onnx` file: its state lies in the store, where every process
    finds the same numbers. A workspace resolves it once.

    Raises as `weights.load_network` and `registry.card_of` do.
    """
    find = _of_live if model.live else _of_factory if model.is_factory else _of_zoo
    return workspace.once(("resolved", model), lambda: find(workspace, model))


def architecture(model: ModelSpec) -> dict[str, Any]:
    """What a module's structure depends on; of a network that is not built in, its sources and what they import."""
    sources = registry.source_files(model)
    return {
        "model": model.name,
        "width_mult": model.width_mult,
        "factory_args": model.factory_args,
        "num_classes": model.num_classes,
        "in_channels": model.in_channels,
        "sources": [digest_of(path) for path in sources],
        "imports": library_versions(sorted(imported_names(sources))),
    }


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file that a user names. Raises as `io.door.digest_file`."""
    require_file(path, "file")
    found = path.stat()
    return _digest_at(path, (found.st_size, found.st_mtime_ns, found.st_ino))


def digests_of_onnx(path: Path) -> list[str]:
    """The digests of an `.onnx` file and of the external data it refers to. Raises as `external_files`."""
    own = digest_of(path)
    return [own, *map(digest_of, _external_files(path.absolute(), own))]


def _checkpoint_digest(path: Path) -> str:
    """Of a file that is a checkpoint by its first bytes; others are refused before gigabytes of them are read."""
    checkpoint_format(path)
    return digest_of(path)


@lru_cache(maxsize=64)
def _external_files(path: Path, _digest: str) -> tuple[Path, ...]:
    """Looked for once while the file stays as it is."""
    return external_files(path)


@lru_cache(maxsize=64)
def _digest_at(path: Path, _stamp: tuple[int, int, int]) -> str:
    """Hashed once while the file stays as it is: a table of nine rows asks nine times for the same weights."""
    return digest_file(path, "file")


def _of_zoo(workspace: Workspace, model: ModelSpec) -> Resolved:
    """Seeded weights and their BatchNorm statistics are made once; a checkpoint is read once."""

    def make(writer: Writer) -> StateFacts:
        from deploykit.weights import load_network

        with workspace.timed("load the weights" if model.weights else "seed weights and estimate BatchNorm statistics"):
            loaded = load_network(model)
            return _kept_state(loaded, writer)

    made_of = architecture(model)
    parts = {
        **made_of,
        "seed": model.seed,
        "inputs": registry.input_specs(model),
        "init_from": model.init_from,
        "file": [model.weights.name, _checkpoint_digest(model.weights)] if model.weights else None,
        "published": model.published,
        "key": model.weights_key,
    }
    entry, _ = workspace.get_or_make("weights", parts, make, request={"model": model}, facts=StateFacts, files=(STATE,))
    facts = entry.facts_as(StateFacts)
    told = replace(model, num_classes=facts.num_classes, in_channels=facts.in_channels)
    inputs, outputs = registry.input_specs(told), registry.output_specs(told)
    source = ModuleSource(told, entry.path(STATE), inputs, outputs)
    said = {"num_classes": facts.num_classes, "in_channels": facts.in_channels}
    return Resolved(source, facts.origin, _identity({**made_of, **said}, entry, inputs))


def _of_factory(workspace: Workspace, model: ModelSpec) -> Resolved:
    """A factory is called every time: which numbers it returns, its sources alone do not tell."""
    from deploykit.modules.state import attributes_digest, state_digest, state_of
    from deploykit.weights import load_network

    inputs = registry.input_specs(model)
    with workspace.timed(f"make {model.label}"):
        loaded = load_network(model)
        digests = {
            "state": state_digest(state_of(loaded.module)),
            "beside": f"{attributes_digest(loaded.module)} {_answer_digest(loaded.module, model, inputs)}",
        }
    made_of = architecture(model)
    parts = {**made_of, **digests}

    def make(writer: Writer) -> StateFacts:
        return _kept_state(loaded, writer, beside=digests["beside"])

    entry, _ = workspace.get_or_make("weights", parts, make, request={"model": model}, files=(STATE,))
    outputs = _outputs(workspace, model, {**parts, "inputs": inputs})
    source = ModuleSource(model, entry.path(STATE), inputs, outputs)
    return Resolved(source, replace(loaded.origin, digest=digests["state"]), _identity(made_of, entry, inputs))


def _identity(made_of: Mapping[str, Any], entry: Entry, inputs: tuple[TensorSpec, ...]) -> Mapping[str, Any]:
    """What the raw graph of a network is made from: its structure, its state, its inputs."""
    return {**made_of, "weights": entry.files[STATE].sha256, "inputs": inputs}


def _of_live(workspace: Workspace, model: ModelSpec) -> Resolved:
    """A module that Python code handed over is keyed by its raw graph, which has its weights, and by its state."""
    from deploykit.graph import graph_digest, serialize
    from deploykit.modules.state import state_digest, state_of
    from deploykit.weights import load_network

    snapshot, loaded = taken(model.live), load_network(model)
    digest = snapshot.once("state", lambda: state_digest(state_of(loaded.module)))
    outputs = snapshot.once("outputs", lambda: registry.output_specs(model))
    network = live_graph(workspace, model)
    traced = snapshot.once("graph digest", lambda: graph_digest(serialize(network)))
    parts = {
        "live": traced,
        "state": digest,
        "inputs": registry.input_specs(model),
        "portable": snapshot.obstacle is None,
    }

    def make(writer: Writer) -> StateFacts:
        if snapshot.obstacle is None:
            writer.write(PICKLE, snapshot.pickled())
        return _kept_state(loaded, writer, beside=traced)

    files = (STATE, PICKLE) if snapshot.obstacle is None else (STATE,)
    entry, _ = workspace.get_or_make("weights", parts, make, request={"model": model}, files=files)
    source = ModuleSource(
        model,
        entry.path(STATE),
        registry.input_specs(model),
        outputs,
        pickled=None if snapshot.obstacle else entry.path(PICKLE),
        obstacle=snapshot.obstacle,
    )
    made_of = _identity(architecture(model), entry, source.inputs)
    return Resolved(source, replace(loaded.origin, digest=digest), made_of)


def live_graph(workspace: Workspace, model: ModelSpec) -> ir.Model:
    """The raw graph of a module that Python code handed over. It is traced once; whoever changes it takes a copy."""
    from deploykit.export import export_module

    snapshot = taken(model.live)

    def trace() -> ir.Model:
        names = tuple(output.name for output in registry.output_specs(model))
        with workspace.timed(TRACING):
            return export_module(snapshot.module(), registry.input_specs(model), output_names=names)

    return snapshot.once("graph", trace)


def _answer_digest(module: nn.Module, model: ModelSpec, inputs: tuple[TensorSpec, ...]) -> str:
    """SHA-256 of what the network answers to seeded noise; "" where it cannot be run so.

    Hooks, closures, objects that it holds and globals that it reads have no digest of their own, and decide all the
    same what its graph computes.
    """
    import torch

    from deploykit.modules.calling import call
    from deploykit.modules.outputs import flatten_outputs
    from deploykit.modules.state import state_digest, unchanged

    ranges = model.input_ranges
    known = [spec for spec in inputs if can_draw(spec, ranges)]
    shown = {spec.name: torch.zeros(spec.at_batch(1), dtype=getattr(torch, spec.dtype)) for spec in inputs}
    for name, array in next(noise_feeds(known, count=1, batch=1, seed=PROBE_SEED, ranges=ranges), {}).items():
        shown[name] = torch.from_numpy(np.array(array))
    with repeatable(model.seed), unchanged(module), torch.no_grad():
        try:
            answers = flatten_outputs(call(module, shown))
        except Exception:  # noqa: BLE001 - a user's code raises what it likes; whoever needs its outputs says so
            return ""
    return state_digest({str(index): answer for index, answer in enumerate(answers)})


def _outputs(workspace: Workspace, model: ModelSpec, parts: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """What a factory's network returns: it has to be run for it once."""

    def make(_: Writer) -> OutputFacts:
        with workspace.timed(f"run {model.label} for its outputs"):
            return OutputFacts(outputs=registry.output_specs(model))

    entry, _ = workspace.get_or_make("outputs", parts, make, request={"model": model}, facts=OutputFacts)
    return entry.facts_as(OutputFacts).outputs


def _kept_state(loaded: Loaded, writer: Writer, *, beside: str = "") -> StateFacts:
    """Write a network's state; the facts are where it is from, and what a checkpoint told of the network.

    `beside` is the digest of what decides beside the state.
    """
    from deploykit.modules.state import state_digest, state_of, write_state

    model, state = loaded.model, state_of(loaded.module)
    write_state(state, writer.path(STATE), beside=beside)
    return StateFacts(
        origin=replace(loaded.origin, digest=state_digest(state)),
        num_classes=model.num_classes,
        in_channels=model.in_channels,
    )
