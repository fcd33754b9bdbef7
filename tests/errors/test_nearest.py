"""What a mistyped name may have meant."""

import pytest

from deploykit.errors import UnknownName, nearest

KNOWN = ["a10", "a100-sxm-80gb", "h100-pcie", "h100-sxm", "orin-agx-64gb", "rtx4090", "rtx5090", "resnet50"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RTX 4090", ["rtx4090"]),
        ("rtx-4090", ["rtx4090"]),
        ("4090", ["rtx4090"]),
        ("NVIDIA GeForce RTX 4090", ["rtx4090"]),
        ("a100", ["a100-sxm-80gb"]),
        ("H100", ["h100-pcie", "h100-sxm"]),
        ("Jetson Orin", ["orin-agx-64gb"]),
        ("ResNet-50", ["resnet50"]),
        ("quux", []),
        ("", []),
    ],
)
def test_the_likeliest_names(name: str, meant: list[str]):
    assert nearest(name, KNOWN) == meant


def test_a_slip_of_the_hand_comes_first_among_the_similar():
    assert nearest("rasnet50", KNOWN)[0] == "resnet50"


def test_a_fix_takes_the_place_of_the_names():
    assert str(UnknownName("GPU", "x", KNOWN, fix="write y")) == "unknown GPU 'x'; write y"
    assert str(UnknownName("GPU", "a100", KNOWN)) == "unknown GPU 'a100'; did you mean a100-sxm-80gb?"
    assert str(UnknownName("GPU", "quux", ["b", "a"])) == "unknown GPU 'quux'; known: a, b"
