"""Laws of the drawn sprites: what their labels say is what is seen, and slow references for outline and coverage."""

import colorsys

import numpy as np
import pytest

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.toy import drawing


def masks(images):
    """Where a sprite is coloured, 0 or 1."""
    pixels = images.astype(np.float64) / 255
    return (pixels.max(axis=1) - pixels.min(axis=1) > 0.3).astype(np.float64)


def test_sprites_are_a_function_of_seed_and_place():
    images, labels = toy.sprite_images(300, 16, 7)
    assert (images.shape, images.dtype) == ((300, 3, 16, 16), np.uint8)
    few, few_labels = toy.sprite_images(120, 16, 7)
    assert np.array_equal(images[:120], few)
    assert all(np.array_equal(labels[task][:120], y) for task, y in few_labels.items())
    large, large_labels = toy.sprite_images(300, 48, 7)
    assert all(np.array_equal(labels[task], y) for task, y in large_labels.items())
    means = large.reshape(300, 3, 16, 3, 16, 3).mean(axis=(3, 5))
    assert np.abs(means - images).mean() < 10  # the same pictures, of 255 greys, but for noise and edges
    other, other_labels = toy.sprite_images(300, 16, 8)
    assert not np.array_equal(images, other)
    assert not any(np.array_equal(labels[task], y) for task, y in other_labels.items())


def test_sprites_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    whole, _ = toy.sprite_images(50, 14, 1)
    monkeypatch.setattr(drawing, "CHUNK", 14 * 14 * 7)
    assert np.array_equal(whole, toy.sprite_images(50, 14, 1)[0])


def test_labels_of_sprites_are_evenly_drawn():
    _, labels = toy.sprite_images(6000, 12, 0)
    for task, names in drawing.TASKS.items():
        counts = np.bincount(labels[task], minlength=len(names))
        assert (np.abs(counts - 6000 / len(names)) < 5 * np.sqrt(6000 / len(names))).all()
    pairs = np.bincount(labels["shape"] * 4 + labels["rotation"], minlength=16)
    assert (np.abs(pairs - 6000 / 16) < 5 * np.sqrt(6000 / 16)).all()


def test_sprites_lie_where_their_position_says():
    images, labels = toy.sprite_images(400, 24, 1)
    mask = masks(images)
    middle = np.arange(24) - 11.5
    right, below = (mask * middle).sum(axis=(1, 2)) > 0, (mask * middle[:, None]).sum(axis=(1, 2)) > 0
    names = np.array(drawing.TASKS["position"])[labels["position"]]
    said = [f"{'bottom' if b else 'top'} {'right' if r else 'left'}" for r, b in zip(right, below, strict=True)]
    assert names.tolist() == said


def test_sprites_have_the_hue_of_their_colour():
    images, labels = toy.sprite_images(400, 24, 2)
    named = {"red": 0, "yellow": 52, "green": 120, "blue": 225, "magenta": 300}  # degrees
    for image, mask, label in zip(images, masks(images), labels["colour"], strict=True):
        colour = image[:, mask > 0].mean(axis=1) / 255
        hue = colorsys.rgb_to_hsv(*colour)[0] * 360
        apart = {name: abs((hue - at + 180) % 360 - 180) for name, at in named.items()}
        assert min(apart, key=apart.__getitem__) == drawing.TASKS["colour"][label]
        assert min(apart.values()) < 20


def test_larger_sprites_have_more_coloured_pixels():
    images, labels = toy.sprite_images(600, 48, 3)
    mask = masks(images)
    whole = mask[:, [0, -1]].sum(axis=(1, 2)) + mask[:, :, [0, -1]].sum(axis=(1, 2)) == 0  # does not touch the border
    counts = [mask.sum(axis=(1, 2))[whole & (labels["size"] == size)] for size in range(3)]
    assert all(len(count) > 50 for count in counts)
    assert counts[0].max() < counts[1].min()
    assert counts[1].max() < counts[2].min()


def test_the_drawn_shape_and_rotation_are_those_of_the_labels():
    """Each of the sixteen upright templates is laid over the coloured pixels; the one that fits best is the label's."""
    images, labels = toy.sprite_images(80, 40, 4)
    pixel = np.arange(40) + 0.5
    for image, mask, shape, rotation in zip(images, masks(images), labels["shape"], labels["rotation"], strict=True):
        if mask[[0, -1]].any() or mask[:, [0, -1]].any():
            continue
        centre = np.array([[(mask * pixel).sum(), (mask * pixel[:, None]).sum()]]) / mask.sum()
        fits = {}
        for s, name in enumerate(drawing.TASKS["shape"]):
            for r in range(4):
                angles = np.radians(90 * r + np.linspace(-12, 12, 9))
                count = len(angles)
                drawn = drawing.coverage(
                    drawing.outline(name), centre.repeat(count, 0), np.full(count, np.sqrt(mask.sum())), angles, 40
                )
                both, either = np.minimum(drawn, mask).sum(axis=(1, 2)), np.maximum(drawn, mask).sum(axis=(1, 2))
                fits[s, r] = (both / either).max()
        assert max(fits, key=fits.__getitem__) == (shape, rotation), image.shape


@pytest.mark.parametrize("shape", drawing.TASKS["shape"])
def test_shapes_have_area_one_around_the_origin(shape):
    corners = drawing.outline(shape)
    grid = (np.arange(600) + 0.5) / 600 * 4 - 2  # a slow reference: how many of 600 × 600 points lie inside
    x, y = np.meshgrid(grid, grid)
    inside = within(corners, x, y)
    assert inside.mean() * 16 == pytest.approx(1, abs=0.01)
    assert (x[inside].mean(), y[inside].mean()) == pytest.approx((0, 0), abs=0.01)


def within(corners, x, y):
    """Whether points lie in a polygon: the angles under which they see its edges add up to a full turn."""
    turned = np.zeros_like(x)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        before, after = np.arctan2(a[1] - y, a[0] - x), np.arctan2(b[1] - y, b[0] - x)
        turned += (after - before + np.pi) % (2 * np.pi) - np.pi
    return np.abs(turned) > np.pi


@pytest.mark.parametrize("shape", drawing.TASKS["shape"])
def test_coverage_is_the_share_of_a_pixel_inside(shape):
    corners, centre, side, angle = drawing.outline(shape), np.array([[10.3, 11.1]]), np.array([9.0]), np.array([0.7])
    fast = drawing.coverage(corners, centre, side, angle, 22)[0]
    fine = (np.arange(22 * 16) + 0.5) / 16
    x, y = np.meshgrid(fine, fine)
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])  # clockwise, as y goes down
    slow = within(9 * corners @ turn + centre[0], x, y).reshape(22, 16, 22, 16).mean(axis=(1, 3))
    assert np.abs(fast - slow).max() < 0.3  # at a corner a distance is not a share
    assert np.abs(fast - slow).mean() < 0.01
    assert fast.sum() == pytest.approx(81, rel=0.03)


def test_a_quarter_turn_of_the_angle_is_a_quarter_turn_of_the_picture():
    for shape in drawing.TASKS["shape"]:
        corners, side = drawing.outline(shape), np.array([7.0])
        first = drawing.coverage(corners, np.array([[8.2, 11.5]]), side, np.array([0.2]), 20)[0]
        second = drawing.coverage(corners, np.array([[20 - 11.5, 8.2]]), side, np.array([0.2 + np.pi / 2]), 20)[0]
        assert np.allclose(np.rot90(first, -1), second, atol=1e-3)
        assert not np.allclose(first, np.rot90(first, 2), atol=0.5)


def test_colours_are_those_of_the_standard_library():
    hue, saturation, value = np.random.default_rng(0).random((3, 200))
    made = drawing.rgb(hue * 720 - 360, saturation=saturation, value=value)
    for colour, h, s, v in zip(made, (hue * 2 - 1) % 1, saturation, value, strict=True):
        assert colour == pytest.approx(colorsys.hsv_to_rgb(h, s, v))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 24, 0), "count must be a whole number from 1"),
        ((5, 11, 0), "size must be a whole number from 12 to 512, got 11"),
        ((5, 24.0, 0), "size must be a whole number"),
        ((5, 24, -1), "seed must be a whole number from 0"),
    ],
)
def test_sprites_out_of_range(arguments, says):
    with pytest.raises(InputError, match=says):
        toy.sprite_images(*arguments)
