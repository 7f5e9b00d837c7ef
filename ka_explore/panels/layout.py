"""Where panels stand: each says what room it takes, and rows are made of those that are there, without a gap."""

from collections.abc import Mapping
from typing import NamedTuple

from ipywidgets import Box, Widget

WIDTHS: Mapping[str, tuple[int, int]] = {"laptop": (56, 44), "projector": (60, 40)}
"""The layouts, and the widths of their two columns in percent."""

GAP = 6  # pixels between two rows
ALONE = 1.5  # how much higher a panel is that stands alone


class Room(NamedTuple):
    """The room that a panel takes; by default a row of its own.

    Several that stand beside one panel stand one below the other, together as high as that.
    """

    laptop: int = 230  # how high it is in these layouts, in pixels; 0 for as high as it must be
    projector: int = 340
    beside: str = ""  # the name of the panel that it stands on the right of, where that is there


class Row(NamedTuple):
    """A row of the grid: the names of what stands in its two columns, and how high it is; 0 for what it must be."""

    left: str
    right: str
    height: int


def grid_rows(rooms: Mapping[str, Room], layout: str) -> list[Row]:
    """The rows of these panels, in order."""
    # Who stands beside whom; beside one that itself stands beside another there is no room.
    beside_one = {name: room.beside for name, room in rooms.items() if room.beside in rooms}
    left_of = {name: left for name, left in beside_one.items() if left not in beside_one}
    rows: list[Row] = []
    for name in [name for name in rooms if name not in left_of]:
        beside = [other for other, left in left_of.items() if left == name]
        height: int = getattr(rooms[name], layout)
        heights = [getattr(rooms[other], layout) for other in beside]
        share = (height - GAP * (len(beside) - 1)) / max(sum(heights), 1)
        rows += [Row(name, other, round(share * own)) for other, own in zip(beside, heights, strict=True)]
        if not beside:
            rows.append(Row(name, name, round(height * (ALONE if len(rooms) == 1 else 1))))
    return rows


def arranged(panels: Mapping[str, Widget], rooms: Mapping[str, Room], layout: str) -> Box:
    """The panels in a grid."""
    rows = grid_rows(rooms, layout)
    areas, (left, right) = {name: f"panel-{index}" for index, name in enumerate(panels)}, WIDTHS[layout]
    for name, panel in panels.items():
        panel.layout.grid_area = areas[name]
    box = Box(list(panels.values()))
    box.layout.display = "grid"
    box.layout.grid_template_columns = f"minmax(0, {left}fr) minmax(0, {right}fr)"
    box.layout.grid_template_areas = " ".join(f'"{areas[row.left]} {areas[row.right]}"' for row in rows)
    box.layout.grid_template_rows = " ".join(f"{row.height}px" if row.height else "auto" for row in rows)
    box.add_class("ka-bench")
    frame = Box([box])  # its width decides whether panels stand side by side (shared.css)
    frame.add_class("ka-frame")
    if layout == "projector":
        frame.add_class("ka-projector")
    return frame
