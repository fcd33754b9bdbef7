"""The marks that a drawing is made of, as text that is safe to stand in a page.

Names in a drawing are foreign text: they are escaped, and cut where room is short. Colors come from the page's style
sheet by class, so that every drawing follows a dark theme.
"""

from __future__ import annotations

from markupsafe import Markup, escape

from deploykit.quote import shown

LETTER = 7.2  # pixels that a letter of a drawing's text takes at most, on average
MARKERS = ("circle", "square", "diamond", "triangle")
RADIUS = 5.0


def element(name: str, *children: str, css: str = "", **attributes: float | str) -> Markup:
    """An element; text is escaped, numbers have one decimal, `text_anchor` is written `text-anchor`."""
    given = {"class": css, **attributes} if css else attributes
    written = Markup("").join(
        Markup(' {}="{}"').format(key.replace("_", "-"), _written(value)) for key, value in given.items()
    )
    inside = Markup("").join(_escaped(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)  # noqa: S704 - `name` is ours


def group(*children: str, css: str = "") -> Markup:
    """Marks that belong together."""
    return element("g", *children, css=css)


def text(said: str, x: float, y: float, *, css: str = "") -> Markup:
    """One line of text from `x` on; the classes `mid` and `end` center it and end it there."""
    return element("text", said, css=css, x=x, y=y)


def line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> Markup:
    """A straight line."""
    return element("path", css=css, d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}")


def tooltip(*lines: str) -> Markup:
    """What a pointer reads over the element that this is a child of."""
    return element("title", Markup("\n").join(map(shown, lines)))


def marker(shape: str, x: float, y: float, *children: str, css: str, radius: float = RADIUS) -> Markup:
    """A point: a shape of `MARKERS`, all of about one area."""
    r, side = radius, radius * 0.9
    if shape == "circle":
        return element("circle", *children, css=css, cx=x, cy=y, r=r)
    if shape == "square":
        return element("rect", *children, css=css, x=x - side, y=y - side, width=2 * side, height=2 * side)
    corners = {
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "triangle": ((0, -1.2), (1.2, 0.95), (-1.2, 0.95)),
    }[shape]
    points = " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners)
    return element("polygon", *children, css=css, points=points)


def drawing(width: float, height: float, *marks: str, title: str, said: str) -> Markup:
    """The drawing as a whole: `title` is its name and `said` the same in words, for who cannot see it."""
    return element(
        "svg",
        element("desc", said),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=title,
    )


def text_width(said: str) -> float:
    """Pixels that a text takes at most."""
    return LETTER * len(said)


def cut(said: str, room: float) -> str:
    """The text, shortened to the pixels that there are."""
    letters = max(2, int(room / LETTER + 0.01))
    whole = shown(said)
    return whole if len(whole) <= letters else f"{whole[: letters - 1]}\u2026"


def _written(value: float | str) -> str:
    return shown(value) if isinstance(value, str) else f"{value:.1f}"


def _escaped(child: str) -> Markup:
    return child if isinstance(child, Markup) else escape(shown(child))
