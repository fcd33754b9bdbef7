"""The code behind each page of docs/results, as a digest at the end of the page.

    python benchmarks/sources.py                     # which pages are older than the code behind them
    python benchmarks/sources.py --note "what was rerun, and what came out" [plans.md ...]

A page that a benchmark writes anew has today's digest. Where the code has changed since, and a part of the benchmark
was rerun to see that the figures still hold, `--note` takes the new digest over and puts the note on every such page,
with its date. A test fails while any page is older than its code.

The digest is one of what the code does: docstrings, comments, type annotations, imports, the wording of messages (texts
with a space in them), the order of definitions and the file that they are in do not change it.
"""

import argparse
import ast
import datetime
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
GRAPHS = ("deploykit/export.py", "deploykit/graph", "deploykit/precision", "deploykit/zoo")
PLANS = ("deploykit/backends", "deploykit/plan")
PAGES: dict[str, tuple[str, ...]] = {
    "families.md": (*GRAPHS, *PLANS, "deploykit/bench", "deploykit/parity", "benchmarks/families.py"),
    "plans.md": (*GRAPHS, *PLANS, "benchmarks/plans.py", "benchmarks/zoo_table.py"),
    "int8.md": ("deploykit/graph", "deploykit/precision", "benchmarks/fashion.py", "benchmarks/int8.py"),
    "int8-zoo.md": (*GRAPHS, *PLANS, "benchmarks/int8_zoo.py", "benchmarks/zoo_table.py"),
    "rtx-releases.md": (*GRAPHS, *PLANS, "benchmarks/rtx_releases.py"),
    "own-networks.md": (
        *("deploykit/graph", "deploykit/precision", "deploykit/parity", "benchmarks/own_networks.py"),
        *("benchmarks/small_networks.py", "benchmarks/text_reading.py"),
    ),
    "overhead.md": ("deploykit/export.py", "deploykit/graph", "deploykit/store", "benchmarks/costs.py"),
}
STATED = re.compile(r"^Source digest: `([0-9a-f]{12})`", re.MULTILINE)


def footer(page: str) -> str:
    """The end of a page that was just made."""
    parts = ", ".join(f"`{part}`" for part in PAGES[page])
    return f"\n## Sources\n\nSource digest: `{digest(PAGES[page])}` of {parts}.\n"


def digest(parts: tuple[str, ...], root: Path = ROOT) -> str:
    """Twelve hex digits of SHA-256 over every definition in the Python files and every other file in `parts`."""
    files = (file for part in parts for file in _files(root / part))
    pieces = sorted(piece for file in files for piece in _pieces(file.read_text(), file.suffix))
    return hashlib.sha256("\n".join(pieces).encode()).hexdigest()[:12]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} is gone; PAGES in benchmarks/sources.py names it")
    return sorted(path.rglob("*.py")) + sorted(path.rglob("*.toml")) if path.is_dir() else [path]


@cache
def _pieces(text: str, suffix: str) -> tuple[str, ...]:
    if suffix != ".py":
        figures = re.sub(r'"[^"]* [^"]*"', '"a text"', re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
        return (re.sub(r"\s+", " ", figures),)
    bare = _Bare().visit(ast.parse(text)).body
    return tuple(ast.unparse(ast.fix_missing_locations(node)) for node in bare)


class _Bare(ast.NodeTransformer):
    """What a program computes, without what it says."""

    def visit(self, node: ast.AST) -> ast.AST | None:
        exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        return None if isinstance(node, ast.Import | ast.ImportFrom) or exports else super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        is_text = isinstance(node.value, str) and " " in node.value
        return ast.Constant("a text") if is_text else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        is_text = any(isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values)
        return ast.Constant("a text") if is_text else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        target = self.visit(node.target)
        return ast.Assign([target], self.visit(node.value)) if node.value else ast.Expr(target)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_typing else self.generic_visit(node)


def stale() -> list[str]:
    """The pages whose code is no longer that of their digest."""
    found = []
    for page, parts in PAGES.items():
        stated = STATED.search((RESULTS / page).read_text())
        if stated is None or stated[1] != digest(parts):
            found.append(page)
    return found


def annotate(note: str, today: datetime.date, only: Sequence[str] = ()) -> list[str]:
    """Give the pages that are behind, or those of `only` among them, today's digest and the note."""
    pages = [page for page in stale() if not only or page in only]
    for page in pages:
        text = (RESULTS / page).read_text()
        notes = re.findall(r"^- \d{4}-\d\d-\d\d: .*$", text.partition("\n## Sources\n")[2], re.MULTILINE)
        lines = "\n".join([*notes, f"- {today}: {note}"])
        since = "\nThe code has changed since the figures were printed. What was done instead of printing all anew:\n"
        (RESULTS / page).write_text(f"{text.partition(chr(10) + '## Sources')[0]}{footer(page)}{since}\n{lines}\n")
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--note", help="what was rerun, and what came out")
    parser.add_argument("pages", nargs="*", help="pages that the note is for; default: all that are behind")
    given = parser.parse_args()
    note = given.note
    if note is None:
        print("\n".join(stale()) or "every page is of the code as it is")
    elif not note.strip():
        parser.error('say what was rerun and what came out: make results-digest NOTE="..."')
    else:
        print(
            "\n".join(annotate(note.strip(), datetime.date.today(), given.pages))
            or "every page is of the code as it is"
        )


if __name__ == "__main__":
    main()
