"""Boxes and arrows laid out in layers: an arrow always goes on to a later layer, lines pass between the boxes.

After Sugiyama, Tagawa and Toda (1981): layers by longest path, long arrows cut at every layer, orders by the mean
place of the neighbours, places by least squares under the order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise

import numpy as np

from ka_explore.errors import InputError, unknown

Node = str | tuple[int, int]  # a box by its name, or where an arrow passes a layer: (arrow, layer)
Link = tuple[Node, Node]

SWEEPS = 12
GAP = 8.0  # points between the nodes of a layer
NARROW = 10.0  # points across that a line takes which only passes by


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in points at the size the boxes were measured at, x to the right and y down.

    The paths are the corners of every arrow from box edge to box edge; the layers follow one another to the right,
    or ``down``.
    """

    centres: Mapping[str, tuple[float, float]]
    paths: Sequence[np.ndarray]
    width: float
    height: float
    down: bool


def layers_of(names: Sequence[str], arrows: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of every box: one more than the latest of those that point to it.

    Raises InputError for an arrow to a box that is not there, or arrows in a circle.
    """
    for name in chain.from_iterable(arrows):
        if name not in names:
            raise unknown("box", name, names, where=" in an arrow")
    before = {name: [start for start, end in arrows if end == name] for name in names}
    layer: dict[str, int] = {}
    while left := [name for name in names if name not in layer]:
        ready = [name for name in left if layer.keys() >= set(before[name])]
        if not ready:
            raise InputError(f"the arrows between {', '.join(left)} make a circle: expected none.")
        layer |= {name: max((layer[other] + 1 for other in before[name]), default=0) for name in ready}
    return layer


def laid_out(
    sizes: Mapping[str, tuple[float, float]],
    arrows: Sequence[tuple[str, str, tuple[float, float]]],
    *,
    last: Iterable[str] = (),
    down: bool = False,
) -> Layout:
    """Places of boxes and paths of arrows, layers to the right or ``down``; the ``last`` boxes in the last of them.

    An arrow is from where, to where, and width and height of what is written on it; sizes are in points.
    """
    along, across = (1, 0) if down else (0, 1)
    layer = layers_of(list(sizes), [(a, b) for a, b, _ in arrows])
    if not sizes:
        return Layout({}, [], 0.0, 0.0, down)
    end = max(layer.values())
    pointing = {a for a, _, _ in arrows}
    layer |= {name: end for name in last if name not in pointing}

    # every arrow as a chain of nodes, one a layer; a node is a box's name or (arrow, layer)
    passed = [[(i, between) for between in range(layer[a] + 1, layer[b])] for i, (a, b, _) in enumerate(arrows)]
    chains: list[list[Node]] = [[a, *between, b] for (a, b, _), between in zip(arrows, passed, strict=True)]
    nodes: list[list[Node]] = [
        [*(name for name in layer if layer[name] == number), *(n for row in passed for n in row if n[1] == number)]
        for number in range(end + 1)
    ]
    links = [link for nodes_of in chains for link in pairwise(nodes_of)]
    nodes = ordered(nodes, links)

    size = {node: (sizes[node][across] if isinstance(node, str) else NARROW) for row in nodes for node in row}
    spot = spread(nodes, links, size)

    thick = [max([sizes[n][along] for n in row if isinstance(n, str)], default=0.0) for row in nodes]
    gaps = [
        18.0 + max([what[along] for a, b, what in arrows if layer[a] <= number < layer[b]], default=0.0)
        for number in range(end)
    ]
    starts = np.cumsum([0.0, *(t + g for t, g in zip(thick, [*gaps, 0.0], strict=True))])
    middle = {node: float(starts[i] + thick[i] / 2) for i, row in enumerate(nodes) for node in row}

    def point(main: float, other: float) -> tuple[float, float]:
        return (other, main) if down else (main, other)

    centres = {name: point(middle[name], spot[name]) for name in sizes}
    paths = []
    for nodes_of in chains:
        sides = []  # of every node that which the arrow enters by and that which it leaves by
        for node in nodes_of:
            half = sizes[node][along] / 2 if isinstance(node, str) else thick[node[1]] / 2
            sides += [point(middle[node] - half, spot[node]), point(middle[node] + half, spot[node])]
        paths.append(np.array(sides[1:-1]))
    width, height = point(float(starts[-1]), max(spot[node] + size[node] / 2 for node in spot))
    return Layout(centres, paths, width, height, down)


def ordered(nodes: list[list[Node]], links: Sequence[Link]) -> list[list[Node]]:
    """The nodes of every layer in the order with the fewest crossings found."""
    best, fewest = nodes, crossings(nodes, links)
    below, above = joined(links), joined((b, a) for a, b in links)
    for sweep in range(SWEEPS):
        nodes = [list(row) for row in nodes]
        neighbours = above if sweep % 2 == 0 else below
        for row in nodes if sweep % 2 == 0 else nodes[::-1]:
            rank = {node: i / max(len(r) - 1, 1) for r in nodes for i, node in enumerate(r)}
            means = {n: np.mean([rank[m] for m in neighbours[n]]) if n in neighbours else rank[n] for n in row}
            row.sort(key=lambda node: means[node])
        now = crossings(nodes, links)
        if now < fewest:
            best, fewest = nodes, now
    return best


def joined(links: Iterable[Link]) -> dict[Node, list[Node]]:
    """By the first node of links, the second ones."""
    found: dict[Node, list[Node]] = {}
    for a, b in links:
        found.setdefault(a, []).append(b)
    return found


def crossings(nodes: Sequence[Sequence[Node]], links: Sequence[Link]) -> int:
    """How many pairs of links cross."""
    rank = {node: (layer, i) for layer, row in enumerate(nodes) for i, node in enumerate(row)}
    ends = [(*rank[a], rank[b][1]) for a, b in links]
    return sum(one == two and (a - c) * (b - d) < 0 for (one, a, b), (two, c, d) in combinations(ends, 2))


def spread(nodes: Sequence[Sequence[Node]], links: Sequence[Link], size: Mapping[Node, float]) -> dict[Node, float]:
    """A place across for every node: near the middle of its neighbours, none upon another."""
    edges = [np.cumsum([0.0, *(size[node] + GAP for node in row)]).tolist() for row in nodes]
    tallest = max(ends[-1] for ends in edges)
    spot = {
        node: edge + size[node] / 2 + (tallest - ends[-1]) / 2
        for row, ends in zip(nodes, edges, strict=True)
        for node, edge in zip(row, ends, strict=False)
    }
    near = joined(end for a, b in links for end in ((a, b), (b, a)))
    for sweep in range(SWEEPS):
        for row in nodes if sweep % 2 == 0 else nodes[::-1]:
            wanted = [float(np.mean([spot[m] for m in near[n]])) if n in near else spot[n] for n in row]
            needed = [0.0, *((size[a] + size[b]) / 2 + GAP for a, b in pairwise(row))]
            spot |= dict(zip(row, separated(wanted, np.cumsum(needed)), strict=True))
    first = min(spot[n] - size[n] / 2 for n in spot)
    return {node: middle - first for node, middle in spot.items()}


def separated(wanted: Sequence[float], offsets: np.ndarray) -> list[float]:
    """Least squares places near the wanted ones, each at least so far after the one before: pool adjacent violators.

    ``offsets`` are the running sum of the least distances.
    """
    blocks: list[tuple[float, int]] = []  # mean, count
    for value in np.asarray(wanted, dtype=float) - offsets:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            other, many = blocks.pop()
            mean, count = (mean * count + other * many) / (count + many), count + many
        blocks.append((mean, count))
    flat = [mean for mean, count in blocks for _ in range(count)]
    return [float(value + offset) for value, offset in zip(flat, offsets, strict=True)]
