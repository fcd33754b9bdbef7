"""Images to classes: one engine that is loaded once and goes to other processes by its path and digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from deploykit.api.checked import checked
from deploykit.api.engines import BuiltEngine, build
from deploykit.api.graphs import ExportedGraph
from deploykit.api.models import Network
from deploykit.api.workspace import StorePath, open_store, path_of
from deploykit.data.dataset import class_names
from deploykit.errors import InvalidFeed, UntrustedArtifact, UsageError
from deploykit.io.loader import read_image
from deploykit.spec import Precision, WeightsOrigin
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    from PIL import Image

    from deploykit.workflow.predictor import Classifier, ClassifierSession

Labels = str | PathLike[str] | Sequence[str] | None
Images = Sequence[Any] | Array | Mapping[str, Any]
NO_CLASS = -1
COLUMNS = ("image", "path")  # of a batch in columns, of which one has the images
KNOWN = "give paths, PIL images, or uint8 arrays (height, width) or (height, width, 3)"


class Predictor:
    """A classifier that is ready for images: `predictor(images)` gives their classes and probabilities.

    The engine is opened once and keeps its own number of CPU threads, whatever OMP_NUM_THREADS says. A predictor can be
    pickled: another process gets the engine's path and digest, and opens it when it is first used there. No PyTorch is
    imported, unless the engine is PyTorch's or has yet to be built.

        engine = dk.build("resnet50", precision="int8", backend="ort", data="images/")
        with dk.Predictor(engine, labels="classes.txt") as predictor:
            predictor(["cat.jpg", "dog.jpg"])["labels"]
    """

    @checked
    def __init__(
        self,
        artifact: BuiltEngine | ExportedGraph | Network,
        backend: str | None = None,
        *,
        labels: Labels = None,
        top: int = 5,
        threads: int = 0,
        trust_engine: bool = False,
        store: StorePath = None,
    ) -> None:
        """Open an engine, or build one of a network first.

        Args:
            artifact: What `build` returned, a file of `BuiltEngine.save`, or what `build` takes, at fp32.
            backend: The backend of a network that is yet to be built; None is `"ort"`, or the engine's own.
            labels: Names of the classes in order: a list, a file with a name a line, or a labeled folder.
            top: How many classes an image is given.
            threads: CPU threads of the engine; 0 is one per core. A GPU ignores it.
            trust_engine: Open a file that the store did not build. An engine is native code.
            store: Folder of the artifact store; None is $DEPLOYKIT_STORE, else `engines`.

        Raises:
            UsageError: An option is wrong, the network takes no images, or `labels` are not as many as its classes.
            UnsupportedGraph: The network is no classifier.
            BackendMissing: The engine cannot run on this machine; the message says what is missing.
            UntrustedArtifact: A file has no record, is not what its record says, or is not trusted.
        """
        for name, value, least in (("top", top, 1), ("threads", threads, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}", hint=f"give {least} or more")
        what = _classifier(artifact, backend, trusted=trust_engine, store=store)
        self._begin(what, _named(labels, what), top, threads)
        self._session.open()

    def _begin(self, what: Classifier, labels: tuple[str, ...] | None, top: int, threads: int) -> None:
        from deploykit.workflow.predictor import ClassifierSession

        self.labels = labels
        self._asked = (top, threads)
        self._session = ClassifierSession(what, top=top, threads=threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.session.what, self.labels, *self._asked)

    def __call__(self, batch: Images) -> dict[str, Array]:
        """Classify images: a list of them, prepared arrays, or a batch in columns.

        Args:
            batch: Paths, PIL images or uint8 arrays (height, width[, 3]), of any sizes. Or one array (n, ...) that is
                prepared already, of floating-point numbers in the input's shape. Or columns by name, of which `image`
                or `path` has the images, as Ray Data hands them over.

        Returns:
            Arrays of n rows: `classes` int64 (n, top), the likeliest first, `probabilities` float32 (n, top), `labels`
            (n, top) where they are known, and `error` (n,). An image that cannot be read has its error there, classes
            of -1 and probabilities of NaN; others have None. Columns come back beside them, without `image`.

        Raises:
            InvalidFeed: An item is no image, or an array is not of the network's shape.
            ExecutionFailed: The engine failed.
        """
        if isinstance(batch, Mapping):
            return self._columns(batch)
        if isinstance(batch, np.ndarray) and batch.dtype.kind == "f":
            spec = self.session.what.input
            return self._answers(batch.astype(spec.dtype, copy=False), [None] * len(batch))
        ready: list[Array] = []
        errors: list[str | None] = []
        for number, item in enumerate(batch):
            try:
                ready.append(self.session.prepare(_image_of(item, number)))
                errors.append(None)
            except (UntrustedArtifact, UsageError) as error:
                errors.append(str(error))
        return self._answers(np.stack(ready) if ready else None, errors)

    def _columns(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        source = next((name for name in COLUMNS if name in batch), None)
        if source is None:
            raise InvalidFeed(
                f"a batch has the columns {', '.join(map(str, batch))}", hint=f"one of {', '.join(COLUMNS)} is required"
            )
        kept = {name: values for name, values in batch.items() if name != "image"}
        return kept | self(list(batch[source]))

    def _answers(self, ready: Array | None, errors: Sequence[str | None]) -> dict[str, Array]:
        shape = (len(errors), self.top)
        classes, probabilities = np.full(shape, NO_CLASS, np.int64), np.full(shape, np.nan, np.float32)
        sound = [row for row, error in enumerate(errors) if error is None]
        if ready is not None and sound:
            classes[sound], probabilities[sound] = self.session.classify(ready)
        found: dict[str, Array] = {"classes": classes, "probabilities": probabilities}
        if self.labels is not None:
            names = np.array([*self.labels, None], dtype=object)  # the last one is that of -1
            found["labels"] = names[classes]
        return found | {"error": np.array(errors, dtype=object)}

    @property
    def session(self) -> ClassifierSession:
        """The open classifier: prepares one image, and runs prepared ones."""
        return self._session

    @property
    def model(self) -> str:
        """The network's name."""
        return self.session.what.model

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides the answers: the engine, its backend, and how images are prepared."""
        return self.session.what.digest

    @property
    def engine_digest(self) -> str:
        """SHA-256 (hex) of the engine's file; of eager PyTorch, that of the network's graph."""
        return self.session.what.engine_digest

    @property
    def top(self) -> int:
        """How many classes an image is given; no more than there are."""
        return self.session.top

    @property
    def classes(self) -> int:
        """How many classes the network distinguishes."""
        return self.session.what.classes

    @property
    def batch(self) -> int:
        """Images of one run."""
        return self.session.what.batch.optimum

    @property
    def threads(self) -> int:
        """CPU threads of the engine."""
        return self.session.threads

    @property
    def backend(self) -> str:
        """The backend's name, such as `"ort"`."""
        return self.session.what.engine.backend

    @property
    def flavour(self) -> str:
        """Library, version and provider."""
        return self.session.what.engine.flavour

    @property
    def precision(self) -> Precision:
        """The precision of the typed graph."""
        return self.session.what.engine.precision

    @property
    def weights(self) -> WeightsOrigin | None:
        """Where the weights are from; None where an engine's record does not say."""
        return self.session.what.weights

    @property
    def preprocessing(self) -> str:
        """How images are prepared, and who says so."""
        return str(self.session.what.preparation)

    def close(self) -> None:
        """Give back the session. It is opened again if the predictor is used again."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _again(what: Classifier, labels: tuple[str, ...] | None, top: int, threads: int) -> Predictor:
    """A predictor in another process."""
    found = Predictor.__new__(Predictor)
    found._begin(what, labels, top, threads)
    return found


def _classifier(artifact: object, backend: str | None, *, trusted: bool, store: StorePath) -> Classifier:
    from deploykit.workflow.predictor import classifier_at, classifier_of

    if isinstance(artifact, str | PathLike):
        if path := saved_engine(fspath(path_of("artifact", artifact))):
            found = classifier_at(open_store(store), path, trusted=trusted)
            _require_backend(found.engine.backend, backend)
            return found
        artifact = fspath(artifact)
    if not isinstance(artifact, BuiltEngine):
        artifact = build(artifact, backend=backend or "ort", store=store)  # type: ignore[arg-type]  # build checks it
    _require_backend(artifact.backend, backend)
    return classifier_of(artifact.built, artifact.spec.batch)


def saved_engine(name: str) -> Path | None:
    """The file of `BuiltEngine.save` that a text names; None where it names a network.

    An `.onnx` file is a network, unless it has a record beside it.
    """
    from deploykit.workflow.engine_file import record_path
    from deploykit.workflow.inspect import is_engine

    path = Path(name)
    return path if record_path(path).is_file() or is_engine(name) else None


def _require_backend(built: str, asked: str | None) -> None:
    if asked is not None and asked.lower() != built:
        raise UsageError(f"the engine is of {built}, not of {asked}", hint="leave backend out, or build another engine")


def _named(labels: Labels, what: Classifier) -> tuple[str, ...] | None:
    """Raises UsageError for names that are not as many as the classes."""
    if labels is None:
        return None
    if isinstance(labels, str | PathLike):
        where, names = f"{labels} has", class_names(path_of("labels", labels))
    else:
        where, names = "labels are", tuple(map(str, labels))
    if len(names) != what.classes:
        raise UsageError(
            f"{where} {len(names)} names, {what.model} distinguishes {what.classes} classes",
            hint="give one name for each class, in the order of the classes",
        )
    return names


def _image_of(item: object, number: int) -> Image.Image:
    """An item of a batch as 8-bit RGB. Raises as `read_image`, and InvalidFeed for what is no image."""
    from PIL import Image

    if isinstance(item, str | PathLike):
        return read_image(Path(fspath(item)))
    if isinstance(item, Image.Image):
        return item.convert("RGB")
    if not isinstance(item, np.ndarray):
        raise InvalidFeed(f"image {number} is a {type(item).__name__}", hint=KNOWN)
    pixels = item[..., 0] if item.ndim == 3 and item.shape[2] == 1 else item
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InvalidFeed(f"image {number} is {item.dtype}{list(item.shape)}", hint=KNOWN)
    if 0 in pixels.shape:
        raise UsageError(f"image {number} has no pixel")
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
