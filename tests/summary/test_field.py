"""Receptive fields, by hand and against what perturbed pixels really reach."""

from fractions import Fraction

import pytest

from deploykit.summary.field import (
    Run,
    Untraceable,
    interpolate,
    join,
    multiply,
    of_images,
    permute,
    pool_adaptively,
    reshape,
    resize,
    slide,
    slide_transposed,
    span,
    span_image,
    step,
)

IMAGES = of_images((1, 3, 64, 48))


def conv(field, kernel, stride=1, dilation=1, size=None):
    size = size or field.shape[2:]
    return slide(field, (1, 3, *size), [kernel] * 2, stride=[stride] * 2, dilation=[dilation] * 2)


def test_a_pixel_sees_itself():
    assert IMAGES.pixels == (1, 1)
    assert not IMAGES.whole_image


def test_windows_widen_by_the_jump_and_strides_multiply_it():
    found = conv(conv(conv(IMAGES, 3, stride=2, size=(32, 24)), 3, dilation=2), 5)
    assert found.pixels == (3 + 4 * 2 + 4 * 2,) * 2  # 3, then (k - 1) d j = 2 * 2 * 2, then 4 * 1 * 2
    assert found.reaches[0].jump == 2


def test_a_1x1_convolution_with_a_stride_skips_pixels_and_sees_no_more():
    found = conv(IMAGES, 1, stride=2, size=(32, 24))
    assert (found.pixels, found.reaches[1].jump) == ((1, 1), 2)


def test_axes_are_apart():
    found = slide(IMAGES, (1, 3, 64, 48), (1, 7), stride=(1, 1))
    assert found.pixels == (1, 7)


def test_where_branches_meet_the_wider_field_counts():
    found = join([conv(IMAGES, 3), slide(IMAGES, (1, 3, 64, 48), (1, 7), stride=(1, 1))], (1, 3, 64, 48))
    assert found.pixels == (3, 7)


@pytest.mark.parametrize("gate_first", [True, False])
def test_a_gate_that_saw_the_whole_image_passes_that_on(gate_first):
    fields = [span(IMAGES, [2, 3]), conv(IMAGES, 129)]
    gated = join(fields if gate_first else fields[::-1], (1, 3, 64, 48))
    assert (gated.pixels, gated.whole_image, gated.shape) == ((64, 48), True, (1, 3, 64, 48))


def test_a_window_over_every_position_is_the_whole_image():
    pooled = span(conv(IMAGES, 3), [2, 3])
    assert (pooled.pixels, pooled.whole_image, pooled.shape) == ((64, 48), True, (1, 3, 1, 1))
    assert conv(pooled, 3).pixels == (64, 48)


def test_one_window_over_all_there_is_sees_the_whole_image():
    found = slide(conv(IMAGES, 3), (1, 3, 1, 1), (64, 48), stride=(1, 1))
    assert (found.pixels, found.whole_image) == ((64, 48), True)
    assert not slide(conv(IMAGES, 3), (1, 3, 1, 1), (60, 48), stride=(60, 48)).whole_image


def test_a_field_larger_than_the_image_is_not_yet_the_whole_image():
    wide = conv(IMAGES, 129)
    assert (wide.pixels, wide.whole_image) == ((129, 129), False)


def test_positions_that_stop_short_of_the_border_do_not_see_the_whole_image():
    """A 5x5 window with stride 4 on 35 pixels has 8 positions: 5 + 7 * 4 = 33 pixels."""
    found = span(slide(of_images((1, 1, 35, 35)), (1, 1, 8, 8), (5, 5), stride=(4, 4)), [2, 3])
    assert (found.pixels, found.whole_image) == ((33, 33), False)


def test_a_transposed_convolution_halves_the_jump():
    small = conv(IMAGES, 3, stride=2, size=(32, 24))
    found = slide_transposed(small, (1, 3, 64, 48), (4, 4), stride=(2, 2), dilation=(1, 1))
    assert (found.pixels, found.reaches[0].jump) == ((5, 5), 1)  # 4 / 2 = 2 inputs, 2 pixels apart


@pytest.mark.parametrize(("neighbors", "pixels"), [(1, 3), (2, 5)])
def test_interpolation_sees_its_neighbors(neighbors, pixels):
    small = conv(IMAGES, 3, stride=2, size=(32, 24))
    found = interpolate(small, (1, 3, 64, 48), neighbors=neighbors)
    assert (found.pixels, found.reaches[0].jump) == ((pixels, pixels), 1)


def test_adaptive_pooling_takes_the_widest_of_its_parts():
    """10 positions in 4 parts: 0-3, 2-5, 5-8, 7-10, three each."""
    found = pool_adaptively(of_images((1, 3, 10, 10)), (1, 3, 4, 4), 2)
    assert (found.pixels, found.reaches[0].jump) == ((3, 3), Fraction(10, 4))
    assert pool_adaptively(IMAGES, (1, 3, 1, 1), 2).whole_image


def test_a_flatten_keeps_the_field_and_the_product_behind_it_sees_every_position():
    flat = reshape(slide(IMAGES, (1, 3, 15, 11), (5, 5), stride=(4, 4)), (1, 3 * 15 * 11))
    assert flat.pixels == (5, 5)
    assert multiply(flat, None, (1, 10)).pixels == (5 + 14 * 4, 5 + 10 * 4)


def test_a_channel_shuffle_leaves_the_image_alone():
    grouped = reshape(of_images((1, 12, 8, 8)), (1, 3, 4, 8, 8))
    shuffled = reshape(permute(grouped, (0, 2, 1, 3, 4)), (1, 12, 8, 8))
    assert shuffled.layout[2:] == of_images((1, 12, 8, 8)).layout[2:]
    assert slide(shuffled, (1, 12, 8, 8), (3, 3), stride=(1, 1)).pixels == (3, 3)


def test_attention_sees_everything():
    tokens = permute(reshape(of_images((1, 16, 4, 4)), (1, 16, 16)), (0, 2, 1))
    scores = multiply(tokens, permute(tokens, (0, 2, 1)), (1, 16, 16))
    assert scores.pixels == (1, 1)  # a score is of two positions
    mixed = multiply(span(scores, [-1], keep=True), tokens, (1, 16, 16))
    assert mixed.whole_image
    assert mixed.shape == (1, 16, 16)


def test_statistics_over_the_maps_see_the_whole_image_at_every_position():
    found = span_image(conv(IMAGES, 3))
    assert found.whole_image
    assert found.shape == (1, 3, 64, 48)


def test_slicing_with_a_step_moves_neighbors_apart():
    found = step(IMAGES, (1, 3, 32, 48), 2, every=2)
    assert [reach.jump for reach in found.reaches] == [2, 1]


def test_cutting_a_run_along_the_image_is_refused():
    with pytest.raises(Untraceable):
        reshape(IMAGES, (1, 3, 32, 2, 48))
    with pytest.raises(Untraceable):
        resize(reshape(IMAGES, (1, 3, 64 * 48)), (1, 3, 100))
    with pytest.raises(Untraceable):
        resize(IMAGES, (1, 3))


def test_a_concatenation_of_channels_keeps_the_maps():
    assert resize(IMAGES, (1, 7, 64, 48)).layout == ((Run(1),), (Run(7),), (Run(64, 0),), (Run(48, 1),))
