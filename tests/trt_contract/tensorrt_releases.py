"""The releases of TensorRT that deploykit's calls are checked against, and how they differ in what it uses:

make test-contract                                  # fetches their bindings
python tests/trt_contract/tensorrt_releases.py      # prints the table of docs/decisions/tensorrt-floor.md
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
BACKENDS = CHECKOUT / "deploykit/backends"
BINDINGS = CHECKOUT / ".trt-bindings"
RELEASES = tuple((HERE / "releases.txt").read_text().split())
RTX = "TensorRT-RTX"

HOLDING = ("nvinfer.py", "nvinfer_session.py")  # the code that holds TensorRT's objects
LOADING = ("tensorrt.py", "tensorrt_rtx.py", "foreign_engine.py")  # loads the module, hands it on and asks its version


def missing(release: str) -> str:
    """Why a release cannot be asked here; "" where it can."""
    if release == RTX:
        return "" if find_spec("tensorrt_rtx") else "tensorrt-rtx is not installed"
    stamp = BINDINGS / release / "stamp"
    if not stamp.exists():
        return f"the bindings of TensorRT {release} are not here: make test-contract"
    made_for, here = stamp.read_text().strip(), sys.implementation.cache_tag
    return "" if made_for == here else f"TensorRT {release} is here for {made_for}, this is {here}: make test-contract"


@cache
def ask(release: str, further: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `one_release.py` says of a release and deploykit's code; `further` sources are looked at by the way."""
    sources = {name: (BACKENDS.joinpath(name).read_text(), name in HOLDING) for name in (*HOLDING, *LOADING)}
    sources |= {text: (text, True) for text in further}
    environment = dict(os.environ)
    paths = [str(CHECKOUT), *sys.path]
    if release != RTX:
        paths.insert(0, str(BINDINGS / release / "site"))
        environment["LD_LIBRARY_PATH"] = str(BINDINGS / release / "lib")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        [sys.executable, str(HERE / "one_release.py")],
        input=json.dumps({"module": "tensorrt_rtx" if release == RTX else "tensorrt_bindings", "sources": sources}),
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"TensorRT {release} could not be asked:\n{done.stderr}")
    return json.loads(done.stdout)


def members(answer: Mapping[str, Any]) -> dict[str, str]:
    """Every name of the bindings that deploykit uses with a release, and what it is there; of what `ask` answered."""
    uses = answer["uses"]
    return {name: kind for source in (*HOLDING, *LOADING) for name, kind in uses[source]["members"].items()}


def table(of: Mapping[str, Mapping[str, str]]) -> str:
    """How releases differ in what is used of them, as Markdown."""
    used = sorted({name for found in of.values() for name in found})
    rows = [(name, *(found.get(name, "absent") for found in of.values())) for name in used]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    said = f"deploykit uses {len(used)} names of the bindings. {len(used) - len(differing)} are the same in all of them"
    lines = [f"| name | {' | '.join(of)} |", "|" + "---|" * (len(of) + 1)]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, *cells in differing]
    return f"{said}; these differ:\n\n" + "\n".join(lines) if differing else f"{said}."


def main() -> None:
    releases = (*RELEASES, RTX)
    if reasons := list(filter(None, map(missing, releases))):
        sys.exit("\n".join(reasons))
    print(table({release: members(ask(release)) for release in releases}))


if __name__ == "__main__":
    main()
