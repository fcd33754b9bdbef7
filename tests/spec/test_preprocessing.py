"""What a user may say of the preprocessing, and what it comes to for the network at hand."""

import pytest

from deploykit.errors import UsageError
from deploykit.spec import Preprocessing, PreprocessRequest

COLOUR = Preprocessing.without_card(channels=3, height=224, width=320)
GREY = Preprocessing.without_card(channels=1, height=28, width=28)


def applied(text: str, base: Preprocessing = COLOUR) -> Preprocessing:
    return PreprocessRequest.parse(text).applied(base)


@pytest.mark.parametrize(
    ("text", "mean", "std", "scale"),
    [
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255),
        ("unit", (0,) * 3, (1,) * 3, 255),
        ("minus-one-one", (0.5,) * 3, (0.5,) * 3, 255),
        ("bytes", (0,) * 3, (1,) * 3, 1),
        ("mean=0.1/0.2/0.3,std=0.4/0.5/0.6", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 255),
        ("mean=0.1,0.2,0.3,std=0.4,0.5,0.6", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 255),
        ("mean=[123.6, 116.3, 103.5];std=58.4/57.1/57.4", (123.6, 116.3, 103.5), (58.4, 57.1, 57.4), 1),
        ("mean=127.5,std=128", (127.5,) * 3, (128,) * 3, 1),
        ("std=0.5", (0,) * 3, (0.5,) * 3, 255),
        ("scale=127.5,mean=1", (1,) * 3, (1,) * 3, 127.5),
        ("mean=103.94/116.78/123.68,scale=255", (103.94, 116.78, 123.68), (1,) * 3, 255),
    ],
)  # fmt: skip
def test_what_a_pixel_becomes(text, mean, std, scale):
    found = applied(text)
    assert (found.mean, found.std, found.scale) == (mean, std, scale)


def test_the_other_keys_leave_the_values_to_what_is_usual():
    found = applied("order=bgr,resize=letterbox,interpolation=bicubic,pad=0,layout=nhwc")
    assert (found.channel_order, found.fit, found.interpolation, found.pad, found.layout) == (
        "BGR", "letterbox", "bicubic", 0, "NHWC",
    )  # fmt: skip
    assert (found.mean, found.std) == (COLOUR.mean, COLOUR.std)
    assert applied("resize=300").resize == 300
    assert applied("resize=crop") == COLOUR
    assert not PreprocessRequest.parse("order=bgr").says_values
    assert PreprocessRequest.parse("std=2").says_values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imagnet", "'imagnet' is neither a preset nor key=value; did you mean imagenet"),
        ("mean=a", "mean=a is not a list of numbers"),
        ("std=0", "divides by 0 or less"),
        ("", "--preprocess is empty; write imagenet, unit"),
        ("mean=1/2", "2 numbers for mean, the network's images have 3 channels"),
        ("foo=1", "unknown key of --preprocess 'foo'"),
        ("unit,mean=0.5", "unit already says mean"),
        ("mean=1,mean=2", "gives mean twice"),
        ("unit,bytes", "gives preset twice"),
        ("resize=ltterbox", "did you mean letterbox"),
        ("resize=99999", "up to 9999"),
        ("resize=100", "resize=100 is smaller than the input's 224 pixels"),
        ("order=gbr", "unknown order of --preprocess 'gbr'"),
        ("interpolation=cubic", "did you mean bicubic"),
        ("pad=300", "a gray value from 0 to 255"),
        ("0.5", "'0.5' is neither a preset nor key=value"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(text, said):
    with pytest.raises(UsageError) as caught:
        applied(text)
    assert said in str(caught.value)


def test_grey_images_take_one_number_and_no_three():
    assert applied("unit", GREY).values == "pixel / 255"
    with pytest.raises(UsageError, match="3 numbers for mean, the network's images have 1 channel;"):
        applied("imagenet", GREY)


def test_a_recipe_is_said_in_words():
    assert str(applied("resize=letterbox,unit,order=bgr")) == (
        "fitted into 320 by 224 pixels, filled up with 114 (bilinear), BGR, pixel / 255"
    )
    assert str(applied("bytes,resize=stretch,layout=nhwc")) == (
        "stretched to 320 by 224 pixels (bilinear), RGB, channels last, pixels of 0 to 255 as they are"
    )
    assert str(GREY) == "short side to 28, middle of 28 by 28 pixels (bilinear), gray, (pixel / 255 - 0.5) / 0.5"
