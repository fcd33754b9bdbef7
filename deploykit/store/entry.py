"""An entry of the store as a build reads it, and why an entry is not used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from deploykit.codec import decode
from deploykit.errors import StoreFailed, UntrustedArtifact
from deploykit.store.files import Unfit, digest_of, require_regular
from deploykit.store.manifest import Outdated
from deploykit.store.seal import OtherSeal

State = Literal["corrupt", "untrusted", "outdated"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an entry is not used: it is `corrupt`, or whole and `untrusted` (not sealed by our key) or `outdated`."""

    text: str
    state: State = "corrupt"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an entry: where it lies, its SHA-256 (hex) and its size in bytes."""

    path: Path
    sha256: str
    bytes: int

    def require_content(self) -> None:
        """Raises Unfit for a file of another size or content than its entry says, and as `files.digest_of`."""
        if require_regular(self.path).st_size != self.bytes:
            raise Unfit("has another size")
        if digest_of(self.path) != self.sha256:
            raise Unfit("fails its checksum")

    def is_spoiled(self) -> bool:
        """Whether something else lies in its place; not where a link leads there: what is behind it is not ours."""
        if self.path.parent.is_symlink():
            return False
        try:
            self.require_content()
        except FileNotFoundError:
            return False
        except (Unfit, OSError):
            return True
        return False


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished build. `request` is what was asked, `facts` what its maker returned; both are JSON values."""

    kind: str
    key: str
    request: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str
    files: Mapping[str, StoredFile]
    facts: Any
    _decoded: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def facts_as(self, wanted: type[T]) -> T:
        """The facts as the value that its maker returned. Raises UntrustedArtifact where they are not one."""
        if wanted not in self._decoded:
            what = f"manifest of {self.kind} {self.key[:12]} in the store"
            self._decoded[wanted] = decode(wanted, self.facts, what=what, hint="delete it, and it is made again")
        return cast("T", self._decoded[wanted])

    def path(self, name: str) -> Path:
        """The path of the file that its maker called `name`; its suffix is that of `name`."""
        if name not in self.files:
            raise StoreFailed(
                f"{self.kind} {self.key[:12]} has no file {name!r}", hint=f"it has {', '.join(self.files)}"
            )
        return self.files[name].path

    def require(self, facts: type | None, files: Sequence[str]) -> None:
        """Raises Unfit where one of `files` is missing, or the facts are no value of the type `facts`."""
        if missing := [name for name in files if name not in self.files]:
            raise Unfit(f"names no {missing[0]}")
        if facts is not None:
            try:
                self.facts_as(facts)
            except UntrustedArtifact as error:
                raise Unfit(f"has other facts ({error.message})") from error


def manifest_fault(error: Unfit) -> Fault:
    """What a manifest that cannot be used is reported as."""
    match error:
        case Outdated():
            return Fault(f"its manifest {error}", "outdated")
        case OtherSeal():
            return Fault(f"its manifest {error}", "untrusted")
        case _:
            return Fault(f"its manifest {error}")
