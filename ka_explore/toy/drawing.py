"""Sprites drawn by formula: one coloured shape an image, with five things to tell of it, at any resolution.

The shapes are polygons without symmetry, so that their rotation shows, all of one area, so that their size shows
whatever the shape. What is drawn depends on the seed and the image's index alone; the resolution changes nothing
but the pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from ka_explore.toy.checks import MOST_SEED, whole_number

TASKS: dict[str, tuple[str, ...]] = {
    "shape": ("triangle", "L", "comb", "notched square"),
    "colour": ("red", "yellow", "green", "blue", "magenta"),
    "size": ("small", "medium", "large"),
    "position": ("top left", "top right", "bottom left", "bottom right"),
    "rotation": ("up", "right", "down", "left"),
}
HUES = (0.0, 52.0, 120.0, 225.0, 300.0)  # degrees
SIDES = (0.25, 0.32, 0.40)  # of a square of the sprite's area, as a share of the image's side
CENTRES = (0.34, 0.66)  # left or top, right or bottom, as a share of the image's side
# Corners of the shapes as they stand upright, x to the right and y downwards, in any unit and anywhere.
CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "triangle": ((0, 0), (5, 8), (-5, 8)),
    "L": ((0, 0), (2, 0), (2, 9), (9, 9), (9, 11), (0, 11)),
    "comb": ((0, 0), (2, 0), (2, 8), (4, 8), (4, 4), (6, 4), (6, 8), (8, 8), (8, 0), (10, 0), (10, 10), (0, 10)),
    "notched square": ((0, 0), (2, 0), (2, 4), (5, 4), (5, 0), (7, 0), (7, 10), (0, 10)),
}
CHUNK = 1 << 20  # pixels drawn at once


@dataclass(frozen=True)
class Sprites:
    """Images of sprites and what is true of them."""

    images: UInt8[np.ndarray, "image 3 size size"]
    labels: dict[str, Int64[np.ndarray, "image"]]  # by task, an index into its names in `TASKS`
    dark: Bool[np.ndarray, "image"]  # the background; no task asks for it, but a teacher may have seen only one kind

    def __len__(self) -> int:
        return len(self.images)

    def at(self, index: np.ndarray | slice) -> "Sprites":
        """Those at an index array or slice."""
        return Sprites(self.images[index], {t: y[index] for t, y in self.labels.items()}, self.dark[index])


def sprite_images(
    count: int, size: int = 24, seed: int = 0
) -> tuple[UInt8[np.ndarray, "image 3 size size"], dict[str, Int64[np.ndarray, "image"]]]:
    """Images of sprites, and by task of `TASKS` the index of each one's label.

    The first images of many are the same as those of few. Raises InputError for a count below 1, a size outside
    12 to 512 pixels or a bad seed.
    """
    sprites = draw(count, size, seed)
    return sprites.images, sprites.labels


def draw(count: int, size: int, seed: int) -> Sprites:
    """That many sprites of size × size pixels. Raises InputError as `sprite_images` does."""
    count, size = whole_number("count", count, 1, 2**24), whole_number("size", size, 12, 512)
    whole_number("seed", seed, 0, MOST_SEED)
    # A stream of random numbers for each thing that varies: more images, or another size, leave all others be.
    streams: Iterator[np.random.Generator] = (np.random.default_rng([seed, 77, stream]) for stream in range(99))

    def between(low: float, high: float) -> Float64[np.ndarray, "image"]:
        return next(streams).uniform(low, high, count)

    labels = {task: next(streams).integers(0, len(names), count) for task, names in TASKS.items()}
    dark = between(0, 1) < 0.5
    angle = np.radians(90 * labels["rotation"] + between(-12, 12))
    side = np.array(SIDES)[labels["size"]] * np.sqrt(between(0.9, 1.1)) * size
    across_and_down = labels["position"] % 2, labels["position"] // 2
    centre = np.stack([(np.array(CENTRES)[way] + between(-0.05, 0.05)) * size for way in across_and_down], axis=1)
    hue = np.array(HUES)[labels["colour"]] + between(-9, 9)
    colour = rgb(hue, saturation=between(0.75, 1), value=between(0.7, 1))
    grey = np.where(dark, between(0.05, 0.3), between(0.7, 0.95))
    slope = np.stack([between(-0.1, 0.1), between(-0.1, 0.1)], axis=1)
    noise = next(streams)

    images = np.empty((count, 3, size, size), dtype=np.uint8)
    across = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    step = max(CHUNK // (size * size), 1)
    for start in range(0, count, step):
        batch = slice(start, min(start + step, count))
        covered = np.empty((batch.stop - start, size, size), dtype=np.float32)
        for index, shape in enumerate(TASKS["shape"]):
            mine = np.flatnonzero(labels["shape"][batch] == index)
            here = start + mine
            covered[mine] = coverage(outline(shape), centre[here], side[here], angle[here], size)
        light = slope[batch].astype(np.float32)
        ground = grey[batch, None, None].astype(np.float32) + (
            light[:, 0, None, None] * across[None, None, :] + light[:, 1, None, None] * across[None, :, None]
        )
        picture = ground[:, None] + covered[:, None] * (
            colour[batch, :, None, None].astype(np.float32) - ground[:, None]
        )
        picture += 0.04 * noise.standard_normal(picture.shape, dtype=np.float32)
        images[batch] = (picture.clip(0, 1) * 255).round()
    return Sprites(images, labels, dark)


def outline(shape: str) -> Float64[np.ndarray, "corner 2"]:
    """A shape's corners with the centroid at the origin and an area of one, by the shoelace formula."""
    corners = np.array(CORNERS[shape], dtype=np.float64)
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
    area = cross.sum() / 2
    centroid = ((corners + following) * cross[:, None]).sum(axis=0) / (6 * area)
    return (corners - centroid) / np.sqrt(abs(area))


def coverage(
    corners: Float64[np.ndarray, "corner 2"],
    centre: Float64[np.ndarray, "image 2"],
    side: Float64[np.ndarray, "image"],
    angle: Float64[np.ndarray, "image"],
    size: int,
) -> Float32[np.ndarray, "image size size"]:
    """How much of every pixel a polygon covers, 0 to 1, by the distance of its middle to the outline.

    The distance is the least to any edge; a point is inside if a ray from it crosses an odd number of edges. The
    polygon is of area one around the origin, ``side`` that of a square of its area, the angle in radians, clockwise.
    """
    pixel = np.arange(size, dtype=np.float32) + 0.5
    right = pixel[None, None, :] - centre[:, 0, None, None].astype(np.float32)
    down = pixel[None, :, None] - centre[:, 1, None, None].astype(np.float32)
    cos, sin = (f(angle)[:, None, None].astype(np.float32) for f in (np.cos, np.sin))
    x, y = cos * right + sin * down, cos * down - sin * right  # in the shape's own frame, in pixels
    scale = side[:, None, None].astype(np.float32)
    nearest = np.full(x.shape, np.inf, dtype=np.float32)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        ex, ey = bx - ax, by - ay
        px, py = x - ax * scale, y - ay * scale
        along = ((px * ex + py * ey) / ((ex * ex + ey * ey) * scale)).clip(0, 1) * scale
        np.minimum(nearest, (px - ex * along) ** 2 + (py - ey * along) ** 2, out=nearest)
        if ey:
            inside ^= ((y >= ay * scale) != (y >= by * scale)) & (px < py * (ex / ey))
    distance = np.sqrt(nearest)
    return np.clip(0.5 + np.where(inside, distance, -distance), 0, 1)


def rgb(
    hue: Float64[np.ndarray, "image"], *, saturation: Float64[np.ndarray, "image"], value: Float64[np.ndarray, "image"]
) -> Float64[np.ndarray, "image 3"]:
    """Red, green and blue (0 to 1) of hue (degrees), saturation and value (0 to 1): the usual hexcone formula."""
    turn = (np.array([5.0, 3.0, 1.0]) + hue[:, None] / 60) % 6
    return value[:, None] * (1 - saturation[:, None] * np.minimum(turn, 4 - turn).clip(0, 1))
