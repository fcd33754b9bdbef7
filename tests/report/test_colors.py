"""Colors that everybody can tell apart and read, in both themes and in print."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

CSS = files("deploykit.report").joinpath("templates/page.css").read_text()
LIGHT, DARK, PRINT = (dict(re.findall(r"--([\w-]+):(#\w+)", block)) for block in re.findall(r":root\{([^}]*)\}", CSS))
# What people see who lack a kind of cone: Machado, Oliveira, Fernandes (IEEE TVCG 15, 2009), severity 1, linear RGB.
VISION = {
    "all three cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(color):
    digits = color[1:] if len(color) == 7 else "".join(2 * each for each in color[1:])
    values = np.array([int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    low, high = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(each))) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
@pytest.mark.parametrize("sight", VISION)
def test_precisions_are_told_apart_by_every_eye(theme, sight):
    seen = {name: lab(np.array(VISION[sight]) @ linear(theme[name])) for name in ("fp32", "fp16", "int8", "other")}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 20, (one, other)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_text_and_marks_stand_out_from_the_page(theme):
    texts = ("ink", "soft", "warn", "good", "fp32-text", "fp16-text", "int8-text", "other-text")
    for name, page in itertools.product(texts, ("page", "panel")):
        assert contrast(theme[name], theme[page]) >= 4.5, (name, page)
    for name in ("fp32", "fp16", "int8", "other"):
        assert contrast(theme[name], theme["page"]) >= 3.0, name
