"""Pages in headless Chromium, on a desk, on a phone, in the dark and on paper."""

import pytest
from chromium import Chromium, find_chromium
from frozen import ACCURACY, BENCH, HOSTILE, SWEEP, VERIFY, report
from frozen_plan import FOUND

from deploykit.report.html import html_of

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (apt-get install chromium)")
PAGES = {"bench": BENCH, "verify": VERIFY, "sweep": SWEEP, "accuracy": ACCURACY, "plan": FOUND}
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll, svg') &&
    each.getClientRects().length && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML)"""
OVERLAPS = """[...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length).flatMap(svg => {
    const texts = [...svg.querySelectorAll('text')].map(each => [each.textContent, each.getBoundingClientRect()])
    return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([b, q]) =>
        p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3
    ).map(([b, q]) => a + ' / ' + b))})"""
CUT = """[...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length).flatMap(svg => {
    const frame = svg.getBoundingClientRect()
    return [...svg.querySelectorAll('text')].map(each => [each.textContent, each.getBoundingClientRect()]).filter(
        ([text, box]) => box.right > frame.right + 1 || box.left < frame.left - 1).map(([text]) => text)})"""


@pytest.fixture(scope="module")
def chromium():
    browser = Chromium(PROGRAM)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, result in PAGES.items():
        (folder / f"{name}.html").write_text(html_of(result), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1400, 800, 390])
def test_a_page_renders_without_complaint_and_nothing_is_wider_than_it(chromium, written, name, width):
    page = written / f"{name}.html"
    for dark in (False, True):
        chromium.show(page, width=width, dark=dark)
        assert chromium.requests() == [page.as_uri()]
        assert chromium.complaints() == []
        assert chromium.value("document.documentElement.scrollWidth") == width
        assert chromium.value(TOO_WIDE) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1400, 390])
def test_words_in_drawings_do_not_meet_and_are_whole(chromium, written, name, width):
    chromium.show(written / f"{name}.html", width=width)
    assert chromium.value(OVERLAPS) == []
    assert chromium.value(CUT) == []


def test_figures_are_text_that_can_be_read(chromium, written):
    chromium.show(written / "bench.html", width=390)
    shown = chromium.value("document.body.innerText")
    for figure in ("58.20 [57.04, 59.36]", "0.155 [0.152, 0.158]", "6.45 [6.33, 6.58]", "12.4 dB fail", "518.4"):
        assert figure in shown
    sizes = "[...document.querySelectorAll('svg text')].filter(each => each.getClientRects().length).map(each => "
    sizes += "parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a)"
    assert min(chromium.value(sizes)) >= 11  # pixels of a phone


def test_the_dark_theme_is_dark_and_paper_is_white(chromium, written):
    color = "getComputedStyle(document.body).backgroundColor"
    chromium.show(written / "bench.html", dark=True)
    assert chromium.value(color) == "rgb(20, 24, 31)"
    chromium.show(written / "bench.html", dark=True, media="print")
    assert chromium.value(color) == "rgb(255, 255, 255)"
    chromium.show(written / "plan.html", width=1040, media="print")
    assert chromium.value("[...document.querySelectorAll('.scroll')].every(each => each.scrollWidth <= innerWidth)")


def test_hostile_names_run_nothing(chromium, tmp_path):
    page = tmp_path / "hostile.html"
    page.write_text(html_of(report(*BENCH.rows, model=HOSTILE)), encoding="utf-8")
    chromium.show(page, width=390)
    assert chromium.complaints() == []
    assert chromium.value("document.scripts.length") == 0
    assert chromium.value("document.documentElement.scrollWidth") == 390
    assert "<script>alert(1)</script>" in chromium.value("document.body.innerText")


def test_the_policy_stops_what_a_page_would_load_or_run(chromium, written, tmp_path):
    """The test can fail: the same page with a script and a picture complains of both and runs neither."""
    page = tmp_path / "smuggled.html"
    smuggled = '<script>document.title = "run"</script><img src="https://example.com/x.png"></body>'
    page.write_text((written / "bench.html").read_text().replace("</body>", smuggled), encoding="utf-8")
    chromium.show(page)
    assert len(chromium.complaints()) == 2
    assert chromium.value("document.title") == "resnet50: speed"
