"""Nobody but the loader opens foreign files."""

import re
from pathlib import Path

import deploykit

FORBIDDEN = (
    r"\btorch\.load\(",
    r"\bnp\.load\(|\bnumpy\.load\(",
    r"\b(import|from) pickle\b|\bpickle\.",
    r"\bonnx\.load|\bload_model_from_string\b",
    r"\bextractall\(",
    r"\bImage\.open\(",
    r"\bload_file\(|\bsafe_open\(",
)
PACKAGE = Path(deploykit.__file__).parent


def openers():
    pattern = re.compile("|".join(FORBIDDEN))
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(pattern.search(line.split("#")[0]) for line in path.read_text().splitlines())
    }


def test_only_the_loader_opens_foreign_files():
    own = {"modules/live.py"}  # pickles that this process wrote itself, for its workers
    assert openers() == {"io/loader.py", *own}
