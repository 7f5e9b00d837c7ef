"""Points over the steps as a film: one page that scrubs without Python and without a network, or a GIF.

The page holds the coordinates as base64 float32 and draws them on a canvas; what stays the same from frame to frame
is stored once.
"""

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ka_explore.errors import InputError, check_between, checked
from ka_explore.plots import colour_of, label_colours, marker_of, replacing, save_film
from ka_explore.plots.scatter import common_limits, common_range
from ka_explore.plots.style import hexadecimal
from ka_explore.probes.results import Points, heading

STYLE = """
.points-film { font: 14px system-ui, sans-serif; color: #222; max-width: 860px; }
.points-film-bar { display: flex; flex-wrap: wrap; gap: .6em; align-items: center; margin-bottom: .4em; }
.points-film-bar input { flex: 1 1 10em; }
.points-film-bar output { min-width: 12em; }
.points-film-stage { position: relative; display: flex; flex-wrap: wrap; gap: 1em; }
.points-film-stage > canvas { width: 560px; max-width: 100%; aspect-ratio: 4 / 3; border: 1px solid #999; }
.points-film-legend { flex: 1 0 10em; max-height: 430px; overflow-y: auto; }
.points-film-legend button { display: flex; gap: .4em; align-items: center; width: 100%; border: 0; padding: 1px 2px;
  background: none; font: inherit; color: inherit; text-align: left; cursor: pointer; overflow-wrap: anywhere; }
.points-film-legend button[aria-pressed="false"] { opacity: .35; text-decoration: line-through; }
.points-film-bar button[aria-pressed="true"] { font-weight: 600; }
.points-film-legend canvas { width: 14px; height: 14px; flex: none; }
.points-film-head { font-weight: 600; margin: .4em 0 .1em; }
.points-film-ramp { height: .8em; max-width: 12em; }
.points-film-tip { position: absolute; pointer-events: none; background: #fffffff0; border: 1px solid #999;
  border-radius: 3px; padding: .1em .4em; white-space: nowrap; z-index: 1; }
.points-film-tip[hidden] { display: none; }
.points-film-note { color: #555; font-size: 12px; margin-top: .3em; }
"""

KINDS = {"group": "int", "sample": "int", "label": "int", "value": "float"}  # arrays of a frame, beside its xy

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
</head>
<body>
{fragment}
</body>
</html>
"""


@checked
def film_html(
    frames: Sequence[Points], path: str | Path | None = None, *, title: str = "common space", seconds: float = 0.5
) -> str:
    """One self-contained page with a slider over frames of the same nets, labels and kind of value.

    It plays so many seconds a frame, and is written where a ``path`` is given.

    Raises InputError for no frame, frames that do not belong together, or a folder that is not there.
    """
    heading = f"<h1 style='font: 600 20px system-ui, sans-serif'>{html.escape(title)}</h1>\n"
    page = PAGE.format(title=html.escape(title), fragment=heading + film_fragment(frames, title=title, seconds=seconds))
    if path is not None:
        with replacing(Path(path)) as part:
            part.write_text(page, encoding="utf-8")
    return page


@checked
def film_fragment(frames: Sequence[Points], *, title: str = "common space", seconds: float = 0.5) -> str:
    """The same as a part of another page; several may stand in one.

    Raises InputError for no frame, or frames that do not belong together.
    """
    # "<" never stands in the data: neither "</script>" nor "<!--" can end or change the script it is in
    data = json.dumps(content(frames, title=title, seconds=seconds), ensure_ascii=True, allow_nan=False)
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    folder = files("ka_explore.plots")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in ("marks.js", "film.js"))
    return (
        f'<div class="points-film"><style>{STYLE}</style>\n<script type="application/json">{data}</script></div>\n'
        f'<script>\n(() => {{\n"use strict";\n{script}}})();\n</script>\n'
    )


film_gif = save_film  # the other way to keep a film


def content(frames: Sequence[Points], *, title: str, seconds: float) -> dict[str, Any]:
    """What the page needs to know, ready for JSON."""
    if not frames:
        raise InputError("a film needs at least one frame, got none.")
    check_between("seconds", seconds, 0.01, 600)
    first = frames[0]
    for index, frame in enumerate(frames):
        for what in ("groups", "labels", "legend", "unit"):
            if getattr(frame, what) != getattr(first, what):
                raise InputError(
                    f"frame {index} has the {what} {getattr(frame, what)!r}, the first {getattr(first, what)!r}: "
                    "frames of one film show the same."
                )
    arrays: list[dict[str, str]] = []

    def kept(values: np.ndarray | None, kind: str) -> int | None:
        """The index of an array as base64, each kept once; None for None."""
        if values is None:
            return None
        data = np.ascontiguousarray(values, dtype={"float": "<f4", "int": "<i4"}[kind]).tobytes()
        array = {"kind": kind, "data": base64.b64encode(data).decode()}
        if array not in arrays:
            arrays.append(array)
        return arrays.index(array)

    limits = common_limits(frames)

    def placed(frame: Points) -> dict[str, Any]:
        """Where a frame's points are, in which limits of its own, if so, and what is said of that."""
        note = frame.note or "; ".join(f"{name} {value:.2f}" for name, value in frame.quality.items())
        own = {"limits": common_limits([frame])} if frame.own_axes or limits is None else {}
        return {"xy": kept(frame.xy, "float"), "note": note} | own

    shown = [
        {"title": heading(frame)}
        | placed(frame)
        | {what: kept(getattr(frame, what), kind) for what, kind in KINDS.items()}
        | ({"own": placed(frame.own)} if frame.own is not None else {})
        for frame in frames
    ]
    valued = any(frame.value is not None for frame in frames)
    labelled = len(first.labels) > 0 and any(frame.label is not None for frame in frames)
    return {
        "title": title,
        "axes": " and ".join(name for name in first.axes if name),
        "limits": limits,
        "groups": list(first.groups),
        "colours": [colour_of(net, first.groups) for net in first.groups],
        "markers": [marker_of(net, first.groups) for net in first.groups],
        "labels": list(first.labels),
        "label_colours": [hexadecimal(colour) for colour in label_colours(first.labels, first.legend)],
        "legend": first.legend,
        "unit": first.unit,
        "range": common_range(frames) or (0.0, 1.0),
        "by": ["value"] * valued + ["label"] * labelled + ["net"],
        "seconds": float(seconds),
        "frames": shown,
        "arrays": arrays,
    }
