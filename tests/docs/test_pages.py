"""The documentation keeps up with the code: links, options, names and generated pages."""

import re
import sys
from pathlib import Path

import pytest
from site_pages import DOCS, ROOT, links, pages

import deploykit

sys.path.insert(0, str(DOCS))
import generate

OF_OTHER_PROGRAMS = {"--help", "--again"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            assert path.startswith("https://arxiv.org/abs/"), target
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_shown_exists(page):
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", commands_of_deploykit(page.read_text())))
    assert shown - OF_OTHER_PROGRAMS <= options()


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_current(name):
    assert (generate.REFERENCE / name).read_text() == generate.text_of(name), "make docs-pages writes it again"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} == listed


def test_every_public_name_is_on_the_page_of_the_api():
    shown = re.findall(r"^::: deploykit\.api\.(\w+)$", (DOCS / "reference/api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(set(deploykit.__all__) - {"__version__"})


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 120


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as mkdocs makes them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        given = re.search(r"\{#([\w-]+)\}", title)
        found.add(given[1] if given else re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()))
    return found


def commands_of_deploykit(text: str) -> str:
    """A page without the lines that run another program."""
    return re.sub(r"^.*\b(?:pip|pytest|python|make|docker|gh) .*$", "", text, flags=re.MULTILINE)


def options() -> set[str]:
    from click import Context, Group

    from deploykit.cli import COMMANDS
    from deploykit.cli import deploykit as group

    with Context(group) as context:
        commands = [group.get_command(context, name) for name in COMMANDS]
    commands += [inner for command in commands if isinstance(command, Group) for inner in command.commands.values()]
    return {
        name for command in commands for option in command.params for name in (*option.opts, *option.secondary_opts)
    }
