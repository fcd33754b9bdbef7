"""From images to classes in this process: an engine, how its images are prepared, and what its outputs mean.

A `Classifier` is values and paths, so it goes to another process as it is; a `ClassifierSession` is one that is open.
Neither imports PyTorch, unless the engine is PyTorch's.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from deploykit import limits
from deploykit.backends import get_backend
from deploykit.backends.protocol import Engine, Session
from deploykit.bench.end_to_end import top_classes
from deploykit.data.images import fit_of, fitted, normalize
from deploykit.data.labeled import classes_among
from deploykit.data.preparation import Preparation
from deploykit.errors import BackendMissing, UntrustedArtifact, UsageError
from deploykit.host import usable_cores
from deploykit.spec import BatchRange, TensorSpec, WeightsOrigin
from deploykit.spec.arrays import Array
from deploykit.store import Store
from deploykit.store.key import cache_key, file_digest
from deploykit.workflow.end_to_end import require_images
from deploykit.workflow.engine import Built
from deploykit.workflow.engine_file import ends_in_softmax, opened_record

if TYPE_CHECKING:
    from PIL import Image

BARE_RECORD = "save the engine with BuiltEngine.save or `deploykit build -o`: its record then says so"
SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """An engine that distinguishes `classes`, and what it takes to show it images.

    `engine_digest` is the SHA-256 (hex) of the engine's file; of a backend without one, that of the network's graph.
    `batch` is what the engine was built for, `probabilities` says that its outputs are none to take a softmax of.
    """

    model: str
    weights: WeightsOrigin | None
    engine: Engine
    engine_digest: str
    classes: int
    batch: BatchRange
    preparation: Preparation
    probabilities: bool

    @property
    def input(self) -> TensorSpec:
        (only,) = self.engine.inputs
        return only

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides its answers: the engine, what runs it, and how images are prepared."""
        parts = {"engine": self.engine_digest, "backend": self.engine.backend, "recipe": self.preparation.recipe}
        return cache_key(parts)

    def require_unchanged(self) -> None:
        """Raises UsageError where the engine's file is gone, UntrustedArtifact where it is another one by now."""
        path = self.engine.path
        if path is None:
            return
        try:
            found = file_digest(path)
        except OSError as error:
            raise UsageError(f"cannot read the engine {path}: {error.strerror}", hint="build it again") from error
        if found != self.engine_digest:
            raise UntrustedArtifact(
                f"the engine {path} is not the one that was named: its digest is {found[:12]}, not "
                f"{self.engine_digest[:12]}",
                hint="name the engine again, if the change is yours",
            )


def classifier_of(built: Built, batch: BatchRange) -> Classifier:
    """A classifier that was built here, for `batch`.

    Raises UsageError for a network that takes no images, UnsupportedGraph for one that is no classifier.
    """
    exported, engine = built.exported, built.engine
    label = exported.model.label
    digest = built.engine_digest or engine.typed_digest
    return Classifier(
        model=label,
        weights=exported.weights,
        engine=_light(engine),
        engine_digest=digest or exported.digest,
        classes=classes_among(engine.outputs, label),
        batch=batch,
        preparation=require_images(exported),
        probabilities=ends_in_softmax(exported.path),
    )


def classifier_at(store: Store, path: Path, *, trusted: bool) -> Classifier:
    """The classifier in an engine file outside the store, by its record.

    Raises UsageError where the record does not say how images are prepared, UnsupportedGraph for what is no classifier,
    and as `open_record`.
    """
    engine, record = opened_record(store, path, trusted=trusted)
    if record.preparation is None or record.batch is None:
        raise UsageError(f"it is not known how images are prepared for the engine {path}", hint=BARE_RECORD)
    return Classifier(
        model=record.model,
        weights=record.weights,
        engine=_light(engine),
        engine_digest=record.digest,
        classes=classes_among(engine.outputs, record.model),
        batch=record.batch,
        preparation=record.preparation,
        probabilities=record.probabilities,
    )


def _light(engine: Engine) -> Engine:
    """Without what nobody who runs it reads."""
    return replace(engine, plan=None, layers=None, content=None, log="")


class ClassifierSession:
    """A classifier that is opened when it is first used, once, on `threads` CPU threads (0: one per core).

    Its methods may be called from several threads; runs wait for one another.
    """

    def __init__(self, what: Classifier, *, top: int, threads: int) -> None:
        self.what = what
        self.top = min(top, what.classes)
        self.threads = threads or usable_cores()
        self._lock = Lock()
        self._opened = ExitStack()
        self._session: Session | None = None

    def open(self) -> None:
        """Raises BackendMissing where the engine cannot run here, and as `Classifier.require_unchanged`."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """Give back what the session holds. It is opened again when it is used again."""
        with self._lock:
            self._session = None
            self._opened.close()

    def prepare(self, image: Image.Image) -> Array:
        """An 8-bit RGB image as the network takes it, without the batch.

        Raises UsageError for one that is too narrow to be brought to the input's size.
        """
        recipe = self.what.preparation.recipe
        fit = fit_of(image.width, image.height, recipe)
        if fit.width * fit.height > limits.IMAGE_PIXELS.value:
            raise UsageError(
                f"an image of {image.width} x {image.height} pixels would be resized to {fit.width} x {fit.height}"
            )
        ready = normalize(fitted(image, recipe), recipe, len(recipe.mean))
        return ready.astype(self.what.input.dtype, copy=False)

    def classify(self, images: Array) -> tuple[Array, Array]:
        """The `top` classes of each prepared image, the likeliest first, and their probabilities: (n, top) each.

        Images run in batches of the size that the engine is tuned for. Raises InvalidFeed, ExecutionFailed.
        """
        size = self.what.batch.optimum
        with self._lock:
            parts = [self._scores(images[at : at + size]) for at in range(0, len(images), size)]
        scores = np.concatenate(parts).astype(np.float32, copy=False)
        if self.what.probabilities:
            scores = np.log(np.maximum(scores, SMALLEST))  # whose softmax they are
        return top_classes(scores, self.top)

    def _scores(self, images: Array) -> Array:
        """One run; images that a smallest batch lacks are filled up with the last one."""
        session, count = self._running(), len(images)
        missing = self.what.batch.minimum - count
        if missing > 0:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        (output,) = self.what.engine.outputs
        return session.run({self.what.input.name: images})[output.name][:count]

    def _running(self) -> Session:
        if self._session is None:
            engine = self.what.engine
            if engine.reason:
                raise BackendMissing(f"this engine cannot run here: {engine.reason.what}", hint=engine.reason.fix)
            self.what.require_unchanged()
            opened = get_backend(engine.backend).open(engine, threads=self.threads)
            self._session = self._opened.enter_context(opened)
        return self._session
