"""Plots are read back from their artists: what was handed in is what is drawn."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from ka_explore import InputError
from ka_explore.plots import (
    DASHES,
    MARKERS,
    STUDENT,
    TEACHERS,
    class_colours,
    colour_of,
    draw,
    draw_comparison,
    draw_history,
    draw_points,
    draw_steps,
    draw_terms,
    figure_for,
    marker_of,
    save,
    smooth,
)
from ka_explore.plots.layered import laid_out, layers_of, separated
from ka_explore.plots.style import RUNS, TERMS, type_of
from ka_explore.probes.results import Box, Curves, Diagram, Distribution, Matrix, Points, Scalars

NETS = ("student", "one", "two", "three")


def points(groups=NETS, *, labels: bool = True, per_net: int = 5, classes: int = 3, only=None) -> Points:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(len(groups)), per_net)
    if only is not None:
        group = group[np.isin(group, only)]
    count = len(group)
    label = random.integers(-1, classes, count) if labels else None
    return Points(
        xy=random.random((count, 2)),
        group=group,
        groups=tuple(groups),
        sample=np.arange(count),
        label=label,
        labels=tuple(f"class {i}" for i in range(classes)) if labels else (),
        axes=("first", "second"),
        title="title",
        note="note",
    )


def rendered(ax):
    """The axes, drawn once as a picture: what cannot be drawn fails here."""
    ax.figure.savefig(os.devnull, format="png")
    return ax


def row(step: int, value: float, stage: str = "joint", term: str = "soft") -> dict:
    return {"step": step, "stage": stage, "loss": 2 * value, "terms": {term: value}}


# Everywhere


@pytest.mark.parametrize(
    "result",
    [
        Scalars({"a": 1.0}),
        Matrix(np.eye(2), ("a", "b"), ("c", "d")),
        points(),
        Distribution({"a": np.ones(3)}),
        Curves({"a": np.arange(3)}, {"a": np.arange(3.0)}),
        Diagram((Box("a", "images"), Box("b", "student")), (("a", "b", ""),)),
    ],
)
def test_drawing_is_on_the_axes_handed_in_or_on_new_ones_and_returns_them(result):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(result, left) is left
    assert not right.has_data()
    ax = draw(result)
    assert ax.figure is not figure
    rendered(ax)


def test_what_has_no_shape_is_refused():
    with pytest.raises(InputError, match="cannot draw a dict"):
        draw({"a": 1})


@pytest.mark.parametrize("name", ["$5", r"a $\frac$ $x$", "_hidden 100 %", "a\nb", "<b> {x} \\"])
def test_any_name_can_be_drawn_as_it_stands(name):
    matrix = Matrix(np.eye(2), (name, "b"), ("c", name))
    some = Points(np.zeros((2, 2)), np.arange(2), ("student", name), np.zeros(2), np.zeros(2, int), (name,))
    curves = Curves({name: np.arange(3)}, {name: np.arange(3.0)}, name, name, name, {name: 1.0}, {name: 1.0}, note=name)
    boxes = Diagram((Box(name, "teacher", text=name, teacher=name), Box("b", "loss")), ((name, "b", name),), name)
    for result in (Scalars({name: 1.0}, title="x"), matrix, some, curves, boxes, Distribution({name: np.arange(3.0)})):
        ax = rendered(draw(result))
    assert name in ax.get_legend().get_texts()[0].get_text().replace(r"\$", "$")
    ax = rendered(draw_history({name: [row(1, 1.0), row(2, 0.5)]}, "soft"))
    assert len(ax.get_legend().get_texts()) == 1


def test_drawing_imports_no_pyplot_and_sets_no_global_style():
    code = """
import sys, os
import numpy as np
import matplotlib
style = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}  # asking loads pyplot
before = style()
from ka_explore.plots import draw, draw_history
from ka_explore.probes.results import Curves, Distribution, Matrix, Points, Scalars
draw(Scalars({"a": 1.0})); draw(Curves({"a": np.arange(3)}, {"a": np.arange(3.)}))
draw(Matrix(np.eye(2), ("a", "b"), ("c", "d"))); draw(Distribution({"a": np.arange(3.)}))
ax = draw(Points(np.zeros((2, 2)), np.arange(2), ("student", "b"), np.zeros(2), np.zeros(2, int), ("x",)))
ax.figure.savefig(os.devnull, format="png")
draw_history({"a": [{"step": 1, "stage": "s", "loss": 1.0, "terms": {}}]}, "loss")
assert "matplotlib.pyplot" not in sys.modules
assert style() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


# Points


def scatters(ax) -> dict:
    return {collection.get_label(): collection for collection in ax.collections}


@pytest.mark.parametrize("labels", [True, False])
def test_points_drawn_are_the_points_given_each_with_its_net(labels):
    result = points(labels=labels)
    drawn = scatters(rendered(draw(result)))
    assert list(drawn) == list(NETS)
    for place, net in enumerate(NETS):
        assert np.array_equal(np.asarray(drawn[net].get_offsets()), result.xy[result.group == place])


def test_every_net_has_a_marker_of_its_own():
    drawn = scatters(draw(points()))
    outlines = {net: drawn[net].get_paths()[0].vertices.tobytes() for net in NETS}
    assert len(set(outlines.values())) == len(NETS)
    assert marker_of("student", NETS) == "o"
    assert [marker_of(net, NETS) for net in NETS[1:]] == list(MARKERS[:3])


def test_without_classes_a_net_has_its_colour_and_with_classes_a_class():
    drawn = scatters(draw(points(labels=False)))
    assert same_color(drawn["student"].get_facecolor()[0, :3], STUDENT)
    for net, colour in zip(NETS[1:], TEACHERS, strict=False):
        assert same_color(drawn[net].get_edgecolor()[0, :3], colour)
    result = points()
    colours = class_colours(3)
    drawn = scatters(draw(result))
    for place, net in enumerate(NETS):
        mine = drawn[net].get_facecolor() if net == "student" else drawn[net].get_edgecolor()
        for colour, label in zip(mine, result.label[result.group == place], strict=True):
            assert same_color(colour[:3], colours[label] if label >= 0 else "#bbbbbb")


@pytest.mark.parametrize("only", [[0], [2], [1, 3], [0, 3], []])
def test_colours_and_markers_stay_whatever_part_of_the_nets_is_seen(only):
    everything, part = scatters(draw(points(labels=False))), scatters(rendered(draw(points(labels=False, only=only))))
    for place in only:
        net = NETS[place]
        assert len(part[net].get_offsets()) == 5
        assert np.array_equal(part[net].get_edgecolor()[:1], everything[net].get_edgecolor()[:1])
        assert np.array_equal(part[net].get_facecolor()[:1], everything[net].get_facecolor()[:1])
        assert np.array_equal(part[net].get_paths()[0].vertices, everything[net].get_paths()[0].vertices)


def test_a_teachers_colour_does_not_depend_on_where_the_student_stands():
    for nets in (("student", "one", "two"), ("one", "student", "two"), ("one", "two")):
        assert (colour_of("one", nets), colour_of("two", nets)) == TEACHERS[:2]
        assert (marker_of("one", nets), marker_of("two", nets)) == MARKERS[:2]


def test_more_teachers_than_colours_can_be_drawn():
    rendered(draw(points(("student", *(f"teacher {i}" for i in range(9))))))


def test_the_legend_names_nets_and_classes():
    ax = draw(points())
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [*NETS, "class", "class 0", "class 1", "class 2"]
    ax = draw(points(labels=False))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(NETS)
    ax = rendered(draw(points(classes=30)))  # too many to name: the nets remain
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(NETS)


def test_axes_title_and_note_are_written():
    ax = draw(points())
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("first", "second", "title")
    assert "note" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("count", [1, 2, 10, 11, 25])
def test_every_class_has_a_colour_of_its_own(count):
    assert len({to_hex(colour) for colour in class_colours(count)}) == count


# Scalars, matrices, distributions


def test_a_bar_a_number_in_order_with_its_value():
    values = {"a": 0.25, "b": float("nan"), "c": 3.0}
    ax = rendered(draw(Scalars(values, unit="nats", title="title")))
    widths = [patch.get_width() for patch in ax.patches]
    assert np.array_equal(widths, list(values.values()), equal_nan=True)
    assert [text.get_text() for text in ax.get_yticklabels()] == list(values)
    assert ax.yaxis_inverted()
    assert [text.get_text() for text in ax.texts][::2] == ["0.25", "3"]
    assert (ax.get_xlabel(), ax.get_title()) == ("nats", "title")


def test_bars_have_their_errors_and_levels_and_say_them():
    spread = {"a": 0.125, "b": float("nan"), "c": 0.0}
    ax = rendered(draw(Scalars({"a": 0.5, "b": 0.25, "c": 1.0}, spread=spread, levels={"by chance": 0.1, "n": np.nan})))
    (lines,) = ax.collections
    assert [segment[:, 0].tolist() for segment in lines.get_segments()] == [[0.375, 0.625], [0.25, 0.25], [1.0, 1.0]]
    texts = [text.get_text() for text in ax.texts]
    assert {"0.5 ± 0.12", "0.25", "1", "by chance: 0.1"} <= set(texts)
    assert 0.1 in [line.get_xdata()[0] for line in ax.lines]


@pytest.mark.parametrize(
    "values", [np.arange(6.0).reshape(2, 3), np.full((2, 3), np.nan), np.array([[1, np.nan, np.inf]] * 2)]
)
def test_a_matrix_is_drawn_as_it_is_with_its_names_and_numbers(values):
    ax = rendered(draw(Matrix(values, ("r0", "r1"), ("c0", "c1", "c2"), unit="share")))
    assert np.array_equal(np.ma.getdata(ax.images[0].get_array()), values, equal_nan=True)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["c0", "c1", "c2"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["r0", "r1"]
    shown = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
    if np.isfinite(values).any():
        assert shown == {
            (r, c): "–" if np.isnan(values[r, c]) else f"{values[r, c]:.2g}" for r in range(2) for c in range(3)
        }
    assert ax.child_axes[0].get_ylabel() == "share"


def test_a_large_matrix_has_no_numbers_in_it():
    assert draw(Matrix(np.zeros((20, 20)), tuple(map(str, range(20))), tuple(map(str, range(20))))).texts[:] == []


def test_a_histogram_counts_every_finite_value_once():
    random = np.random.default_rng(0)
    values = {"one": random.random(50), "two": np.array([np.nan, np.inf, 0.5]), "three": np.array([np.nan])}
    ax = rendered(draw(Distribution(values, unit="share")))
    counted = [patch.get_xy() for patch in ax.patches]
    assert [round(xy[1:-1:2, 1].sum()) for xy in counted] == [50, 1, 0]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == f"one\n(median {np.median(values['one']):.2g})"
    assert texts[1:] == ["two\n(median 0.5)", "three\n(no finite value)"]
    medians = [line.get_xdata()[0] for line in ax.lines]
    assert medians == [np.median(values["one"]), 0.5]
    assert [
        same_color(patch.get_edgecolor()[:3], colour) for patch, colour in zip(ax.patches, TEACHERS, strict=False)
    ] == [True] * 3
    rendered(draw(Distribution()))


# Histories


def test_a_history_is_a_line_a_run_over_the_steps_on_a_log_axis():
    histories = {name: [row(i, 1 / (i + place)) for i in range(1, 40)] for place, name in enumerate(("a", "b"))}
    ax = rendered(draw_history(histories, "soft"))
    assert ax.get_yscale() == "log"
    for line, (name, rows) in zip(ax.lines, histories.items(), strict=True):
        assert line.get_label() == name
        assert line.get_xdata().tolist() == [r["step"] for r in rows] if hasattr(line.get_xdata(), "tolist") else True
        assert np.allclose(line.get_ydata(), smooth([r["terms"]["soft"] for r in rows]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert np.allclose(draw_history(histories, "loss").lines[0].get_ydata(), 2 * ax.lines[0].get_ydata())


def test_smoothing_is_the_mean_of_the_values_around():
    values = np.random.default_rng(0).random(25)
    for window in (1, 3, 9):
        half = window // 2
        slow = [values[max(0, i - half) : i + half + 1].mean() for i in range(25)]
        assert np.allclose(smooth(values, window), slow)
    assert smooth([3.0]).tolist() == [3.0]
    assert np.allclose(smooth([2.0] * 5), 2.0)


def test_a_run_keeps_its_colour_where_another_lacks_the_term():
    both = {"a": [row(1, 1.0)], "b": [row(1, 1.0)]}
    ax = draw_history({"a": [row(1, 1.0, term="other")], "b": both["b"]}, "soft")
    assert [line.get_label() for line in ax.lines] == ["b"]
    assert ax.lines[0].get_color() == draw_history(both, "soft").lines[1].get_color()


def test_stages_are_told_apart_by_a_named_line_where_each_begins_and_are_smoothed_apart():
    rows = [row(1, 1.0), row(2, 1.0), row(3, 4.0, "second"), row(4, 4.0, "second")]
    ax = draw_history({"a": rows}, "soft")
    assert [list(line.get_xdata()) for line in ax.lines[1:]] == [[1, 1], [3, 3]]
    assert [text.get_text() for text in ax.texts[:2]] == ["joint", "second"]
    values = ax.lines[0].get_ydata()
    assert np.array_equal(values, [1, 1, np.nan, 4, 4], equal_nan=True)
    assert "running mean over 9 steps" in ax.texts[-1].get_text()
    assert draw_history({"a": rows[:2]}, "soft").texts[:-1] == []  # one stage needs no name


def test_the_same_stage_of_two_runs_is_marked_once_and_with_the_run_where_they_differ():
    one = [row(1, 1.0), row(2, 1.0, "second"), row(3, 1.0, "second")]
    later = [row(1, 1.0), row(2, 1.0), row(3, 1.0, "second")]
    names = [text.get_text() for text in draw_history({"a": one, "b": one}, "soft").texts]
    assert names[:2] == ["joint", "second"]
    names = [text.get_text() for text in draw_history({"a": one, "b": later}, "soft").texts]
    assert names[:3] == ["joint", "second (a)", "second (b)"]
    other = [row(1, 1.0, term="other"), row(2, 1.0, "third", term="other")]
    assert "third" not in [text.get_text() for text in draw_history({"a": one, "b": other}, "soft").texts]


def test_all_terms_of_a_run_in_one_picture():
    rows = [{"step": i, "stage": "s", "loss": 0.0, "terms": {"soft": 1.0 * i, "mmd": 2.0 * i}} for i in range(1, 6)]
    ax = rendered(draw_terms(rows))
    assert [line.get_label() for line in ax.lines] == ["soft", "mmd"]
    for line, factor in zip(ax.lines, (1, 2), strict=True):
        assert np.allclose(line.get_ydata(), smooth([factor * i for i in range(1, 6)]))
    with pytest.raises(InputError, match="no term"):
        draw_terms([])


def test_zeros_do_not_break_the_log_axis():
    rendered(draw_history({"a": [row(1, 0.0), row(2, 0.0)]}, "soft"))
    rendered(draw_history({"a": [row(1, 0.0), row(2, 1.0)], "b": []}, "soft"))


def test_a_term_that_no_run_has_is_refused():
    for histories in ({"a": [row(1, 1.0)]}, {"a": []}, {}):
        with pytest.raises(InputError, match="no run has a term 'nothing'"):
            draw_history(histories, "nothing")


# What stands around points


def test_colours_by_value_follow_the_map_and_nothing_is_grey():
    some = points(labels=False)
    value = np.linspace(0, 1, len(some.xy))
    value[:2] = np.nan
    result = Points(some.xy, some.group, some.groups, some.sample, value=value, unit="relative error")
    ax = rendered(draw(result))
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_xlabel() == "relative error"
    student = scatters(ax)["student"].get_facecolor()
    assert same_color(student[0, :3], "#bbbbbb")
    assert not same_color(student[2, :3], "#bbbbbb")
    light = [colour[:3].mean() for colour in scatters(ax)["three"].get_edgecolor()]
    assert light == sorted(light)


def test_labels_that_are_teachers_have_the_teachers_colours():
    some = points(labels=False)
    label = np.arange(len(some.xy)) % 3 - 1
    result = Points(some.xy, some.group, some.groups, some.sample, label, ("one", "two"), legend="teacher")
    colours = scatters(draw(result))["student"].get_facecolor()
    expected = [("#bbbbbb", *TEACHERS)[i] for i in np.arange(5) % 3]
    assert all(same_color(a[:3], b) for a, b in zip(colours, expected, strict=True))


def test_pairs_are_joined_by_lines():
    some = points(labels=False)
    result = Points(some.xy, some.group, some.groups, some.sample, pairs=np.array([[0, 5], [1, 6]]))
    lines = draw(result).collections[0].get_segments()
    assert np.array_equal(lines, some.xy[[[0, 5], [1, 6]]])


def test_the_quality_is_said_where_there_is_no_note():
    some = points(labels=False)
    result = Points(some.xy, some.group, some.groups, some.sample, quality={"trustworthiness": 0.934})
    assert "trustworthiness 0.93" in [text.get_text() for text in draw(result).texts]


# Nothing stands on anything else


def box_of(text: Text) -> np.ndarray:
    """The four corners of a text as it stands, turned or not, in pixels."""
    turned = text.get_rotation()
    box = text.get_window_extent()
    if turned % 90 == 0:
        return np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]])
    # the box around a turned w × h text has sides w cos + h sin and w sin + h cos
    angle = np.radians(turned)
    cos, sin = np.cos(angle), np.sin(angle)
    width, height = np.linalg.solve(
        [[cos, sin], [sin, cos]] if abs(turned - 45) > 1 else [[cos, sin], [1, 0]],
        [box.width, box.height] if abs(turned - 45) > 1 else [box.width, 0],
    )
    if abs(turned - 45) <= 1:  # the two equations are one: the height is that of the type
        height = text.get_fontsize() * text.figure.dpi / 72
        width = box.width / cos - height
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    along, up = np.array([cos, sin]) * width / 2, np.array([-sin, cos]) * height / 2
    return np.array([middle - along - up, middle + along - up, middle + along + up, middle - along + up])


def meet(one: np.ndarray, other: np.ndarray, slack: float = 0.5) -> bool:
    """Whether two convex shapes overlap by more than the slack: no line separates them."""
    for shape in (one, other):
        for a, b in pairwise([*shape, shape[0]]):
            normal = np.array([b[1] - a[1], a[0] - b[0]])
            normal = normal / max(np.linalg.norm(normal), 1e-9)
            first, second = one @ normal, other @ normal
            if first.max() < second.min() + slack or second.max() < first.min() + slack:
                return False
    return True


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is seen."""
    FigureCanvasAgg(figure)
    figure.canvas.draw()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    unseen: list[Text] = []
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            place = 0 if axis is ax.xaxis else 1
            labels = [tick.label1 for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
            # matplotlib makes ticks beyond the limits, and draws none of them
            unseen += [text for text in labels if not low <= text.get_position()[place] <= high or not ax.axison]
    return [text for text in found if not any(text is other for other in unseen)]


def check_free(figure: Figure) -> list[Text]:
    """No text stands on another, and none leaves the page."""
    texts = texts_of(figure)
    boxes = [box_of(text) for text in texts]
    for (a, one), (b, other) in combinations(zip(texts, boxes, strict=True), 2):
        assert not meet(one, other), f"{a.get_text()!r} and {b.get_text()!r}"
    for text, box in zip(texts, boxes, strict=True):
        assert box.min() >= -1.5, text.get_text()
        assert (box <= [figure.bbox.x1 + 1.5, figure.bbox.y1 + 1.5]).all(), text.get_text()
    return texts


SIZES = ("column", "projector")
FIVE = ("student", *(f"teacher {i}" for i in range(1, 6)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [2, 10, 20])
def test_twenty_classes_and_five_nets_have_legends_that_meet_nothing(size, classes):
    figure = figure_for(points(FIVE, per_net=20, classes=classes), size)
    texts = [text.get_text() for text in check_free(figure)]
    assert set(FIVE) <= set(texts)
    legends = [artist for artist in figure.axes[0].get_children() if isinstance(artist, Legend)]
    inside = figure.axes[0].get_window_extent()
    for legend in legends:
        assert legend.get_window_extent().x0 >= inside.x1 - 1  # beside the axes: no point is hidden
    assert sum(len(legend.get_texts()) for legend in legends) == classes + 1 + len(FIVE)
    assert min(legend.get_window_extent().y0 for legend in legends) >= 0
    assert inside.width > 0.3 * figure.bbox.width


@pytest.mark.parametrize("count", [2, 4, 6])
def test_several_pictures_with_ten_classes_meet_nothing(count):
    check_free(figure_for([points(NETS, per_net=20, classes=10)] * count, "projector"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (20, 20), (5, 20), (100, 30)])
def test_names_of_a_matrix_meet_nothing_and_what_is_left_out_is_said(size, rows, columns):
    names = tuple(f"class name {i}" for i in range(100))
    figure = figure_for(Matrix(np.eye(rows, columns), names[:rows], names[:columns], "share", "title"), size)
    texts = check_free(figure)
    ax = figure.axes[0]
    for axis, count, what in ((ax.xaxis, columns, "column"), (ax.yaxis, rows, "row")):
        shown = len(axis.get_ticklabels())
        said = any(f"one {what} in" in text.get_text() for text in texts)
        assert said == (shown < count)
        assert min(label.get_fontsize() for label in axis.get_ticklabels()) >= 4.4


@pytest.mark.parametrize("size", SIZES)
def test_names_of_marks_and_levels_meet_nothing(size):
    steps = np.arange(1, 500)
    marks = {f"regress block {i}": 3.0 + i if i < 4 else 60.0 * (i - 3) for i in range(10)}
    lines = {name: np.exp(-steps / (80 + 30 * i)) for i, name in enumerate(FIVE)}
    levels = {"floor 2/N": 0.03, "chance": 0.033, "no better than the mean": 1.0}
    curves = Curves(
        dict.fromkeys(FIVE, steps), lines, unit="nats", title="title", levels=levels, marks=marks, log=(False, True)
    )
    figure = figure_for(curves, size)
    texts = check_free(figure)
    words = " ".join(text.get_text() for text in texts).replace("\n", " ").replace("\u00a0", " ")
    for name in (*FIVE, *marks, *levels):
        assert name in words
    few = Curves({"a": steps}, {"a": steps / 500}, marks={"first": 10.0, "second": 12.0, "third": 490.0})
    texts = check_free(figure_for(few, size))
    assert {"first", "second", "third"} <= {text.get_text() for text in texts}


@pytest.mark.parametrize("size", [*SIZES, "page"])
def test_several_results_share_a_figure_without_meeting(size):
    results = [
        points(per_net=5), Matrix(np.eye(3), tuple("abc"), tuple("def"), title="m"),
        Scalars({"student": 1.0, "one": 2.0}, "nats"), Distribution({"student": np.arange(9.0), "one": np.ones(3)}),
    ]  # fmt: skip
    figure = figure_for(results, size)
    check_free(figure)
    assert figure.get_figwidth() == {"column": 3.3, "page": 6.9, "projector": 10.0}[size]


def by_value() -> Points:
    some = points(labels=False, per_net=20)
    return replace(some, value=np.linspace(0, 1, len(some.xy)), unit="relative error")


SHAPES = {
    "points": lambda ax: draw(points(FIVE, per_net=10, classes=12), ax),
    "values": lambda ax: draw(by_value(), ax),
    "matrix": lambda ax: draw(Matrix(np.eye(5, 7), NAMES[:5], NAMES[:7], "share", "title", note="note"), ax),
    "scalars": lambda ax: draw(Scalars(dict.fromkeys(("student", *NAMES[:4]), 1.0), "nats", title="title"), ax),
    "distribution": lambda ax: draw(Distribution({n: np.arange(9.0) for n in FIVE}, "relative error", "title"), ax),
    "curves": lambda ax: draw(
        Curves({n: np.arange(30) for n in FIVE}, {n: np.arange(30.0) for n in FIVE}, "nats", "title", "a quantity",
               {"chance": 3.0}, {"joint": 2.0, "folding": 20.0}), ax,
    ),
    "history": lambda ax: draw_history({"a run with a name": [row(i, 1 / i) for i in range(1, 30)]}, "soft", ax),
    "terms": lambda ax: draw_terms([row(i, 1 / i, "one" if i < 9 else "two") for i in range(1, 30)], ax),
    "diagram": lambda ax: draw(
        Diagram((Box("images", "images"), Box("a net", "teacher", text="layer1"), Box("loss", "loss")),
                (("images", "a net", ""), ("a net", "loss", "answers")), "title"), ax,
    ),
}  # fmt: skip
NAMES = tuple(f"class name {i}" for i in range(9))


def check_apart(figure: Figure) -> None:
    """Nothing of any axes stands on anything of others, or leaves the figure; and all have some room left."""
    check_free(figure)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for box in boxes:
        assert box.x0 > -1
        assert box.y0 > -1
        assert box.x1 < figure.bbox.x1 + 1
        assert box.y1 < figure.bbox.y1 + 1
    for one, other in combinations(boxes, 2):
        assert not meet(*(np.array([[b.x0, b.y0], [b.x1, b.y0], [b.x1, b.y1], [b.x0, b.y1]]) for b in (one, other)))
    for ax in figure.axes:
        inside = ax.get_window_extent()
        assert inside.width * inside.height > 0.15 * figure.bbox.width * figure.bbox.height / len(figure.axes)


@pytest.mark.parametrize(("left", "right"), [*pairwise(SHAPES), ("diagram", "points"), ("history", "history")])
def test_on_plain_axes_nothing_stands_on_the_neighbour(left, right):
    figure, axes = plt.subplots(1, 2)
    try:
        SHAPES[left](axes[0])
        SHAPES[right](axes[1])
        check_apart(figure)
        SHAPES[right](clear(axes[0]))  # once more, on axes that were made smaller
        check_apart(figure)
        figure.tight_layout()
        check_apart(figure)
        figure.set_size_inches(9, 7)
        check_apart(figure)
        before = axes[1].get_position().bounds
        figure.set_layout_engine("constrained")
        check_apart(figure)
        assert axes[1].get_position().bounds != before, "a layout that is chosen later works as ever"
    finally:
        plt.close(figure)


def clear(ax):
    ax.clear()
    return ax


def test_on_plain_axes_others_and_a_title_over_all_keep_their_places():
    figure, axes = plt.subplots(2, 2, figsize=(9, 7))
    try:
        figure.suptitle("over all")
        axes[0, 0].plot([0, 1000])
        axes[0, 0].set(ylabel="of somebody", title="of somebody")
        bounds = axes[0, 0].get_position().bounds
        for ax, shape in zip(axes.flat[1:], ("points", "values", "distribution"), strict=True):
            SHAPES[shape](ax)
        check_apart(figure)
        assert axes[0, 0].get_position().bounds == bounds
    finally:
        plt.close(figure)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", ["polar", "three dimensions", "a figure", "an array", "removed"])
def test_what_is_no_plain_axes_of_a_figure_is_refused(what, shape):
    figure = Figure()
    removed = figure.add_subplot()
    removed.remove()
    made = {
        "polar": lambda: figure.add_subplot(projection="polar"), "a figure": lambda: figure, "removed": lambda: removed,
        "three dimensions": lambda: figure.add_subplot(projection="3d"), "an array": lambda: figure.subplots(1, 2),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"expected plain axes|ax must be an Axes or None"):
        SHAPES[shape](made[what]())


def test_axes_whose_legend_has_no_room_stay_in_their_own_part():
    figure, axes = plt.subplots(2, 2)
    try:
        names = ("student", *(f"a teacher with a long name {i}" for i in range(12)))
        for ax in axes.flat:
            draw(Distribution({name: np.arange(9.0) for name in names}, "error", "title"), ax)
        for i, ax in enumerate(axes.flat):
            left, low, right, high = ax.get_position().extents
            assert (right <= 0.51) if i % 2 == 0 else (left >= 0.49)
            assert (low >= 0.49) if i < 2 else (high <= 0.51)
            assert 0 <= left < right <= 1
            assert 0 <= low < high <= 1
    finally:
        plt.close(figure)


def test_axes_placed_by_hand_stay_within_their_place():
    figure = Figure(figsize=(8, 6))
    ax = figure.add_axes((0.2, 0.3, 0.5, 0.4))
    SHAPES["history"](ax)
    assert np.allclose(ax.get_position().bounds, (0.2, 0.3, 0.5, 0.4), atol=0.01), "there is room around"
    near = Figure(figsize=(8, 6))
    ax = near.add_axes((0.0, 0.0, 1.0, 1.0))
    SHAPES["history"](ax)
    check_apart(near)


@pytest.mark.parametrize("kind", ["points", "values", "curves", "distribution", "matrix", "scalars"])
def test_several_results_fill_a_plain_figure_without_meeting(kind):
    if kind in ("points", "values"):
        result = points(FIVE, classes=12) if kind == "points" else by_value()
        check_free(draw_steps([result, result], Figure(figsize=(9, 4))))
    else:
        shown = {
            "curves": Curves({n: np.arange(9) for n in FIVE}, {n: np.arange(9.0) for n in FIVE}, "nats", "title"),
            "distribution": Distribution({n: np.arange(9.0) for n in FIVE}, "error", "title"),
            "matrix": Matrix(np.eye(5, 7), NAMES[:5], NAMES[:7], "share", "title"),
            "scalars": Scalars(dict.fromkeys(NAMES[:4], 1.0), "nats", title="title"),
        }[kind]
        check_free(draw_comparison({"a run": shown, "another run": shown}, Figure(figsize=(9, 6))))


def test_type_grows_with_the_figure():
    sizes = [figure_for(points(), size).axes[0].title.get_fontsize() for size in ("column", "page", "projector")]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 6.5
    assert sizes[-1] >= 13
    with pytest.raises(InputError, match="unknown size 'poster'"):
        figure_for(points(), "poster")
    with pytest.raises(InputError, match="nothing to draw"):
        figure_for([])


# Curves


def test_curves_are_the_lines_given_in_the_nets_colours_with_levels_and_marks():
    x = {name: np.arange(1.0, 9.0) for name in NETS}
    y = {name: np.arange(1.0, 9.0) * (i + 1) for i, name in enumerate(NETS)}
    ax = rendered(draw(Curves(x, y, "step", "nats", "title", {"level": 2.0}, {"mark": 3.0}, (True, True))))
    lines = {line.get_label(): line for line in ax.lines}
    for i, name in enumerate(NETS):
        assert np.array_equal(lines[name].get_xdata(), x[name])
        assert np.array_equal(lines[name].get_ydata(), y[name])
        assert same_color(lines[name].get_color(), colour_of(name, NETS))
        assert lines[name].get_linestyle() == DASHES[i]
    assert [2.0, 2.0] in [list(line.get_ydata()) for line in ax.lines]
    assert [3.0, 3.0] in [list(line.get_xdata()) for line in ax.lines]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("step", "nats", "title")


def test_a_line_of_one_net_keeps_its_colour_where_the_nets_are_told():
    curves = Curves({"two": np.arange(3)}, {"two": np.arange(3.0)})
    assert same_color(draw(curves, nets=NETS).lines[0].get_color(), TEACHERS[1])


@pytest.mark.parametrize("y", [[1.0], [np.nan] * 3, [0.0, 0.0], [-1.0, np.inf, 2.0], []])
@pytest.mark.parametrize("log", [(False, False), (True, True)])
def test_any_line_can_be_drawn(y, log):
    x = np.arange(1.0, len(y) + 1)
    rendered(draw(Curves({"a": x}, {"a": np.array(y)}, levels={"l": 1.0, "n": np.nan}, marks={"m": 1.0}, log=log)))


def test_a_value_with_none_beside_it_is_a_dot():
    ax = draw(Curves({"a": np.arange(5)}, {"a": np.array([1, 2, np.nan, 3, np.nan])}))
    assert (ax.lines[0].get_marker(), list(ax.lines[0].get_markevery())) == ("o", [3])


def test_around_a_centre_equal_distances_have_equal_strength():
    ax = draw(Matrix(np.array([[-1.0, 0.5, 2.0]]), ("r",), tuple("abc"), centre=0.5))
    image = ax.images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-1.0, 2.0)
    below, centre, above = image.to_rgba(np.array([-1.0, 0.5, 2.0]))[:, :3]
    assert centre.min() > 0.9
    assert below[2] > below[0]
    assert above[0] > above[2]


# Over the steps, and runs beside one another


def test_steps_that_are_saved_have_boxes_of_one_size_whatever_stands_under_each():
    notes = ("a note", "a note that is so long that it needs more lines than one under a picture that is small")
    figure = draw_steps([replace(points(), note=notes[i % 2], title=f"common space, step {i}") for i in range(5)])
    sizes = []
    figure.canvas.mpl_connect("draw_event", lambda _: sizes.append([ax.bbox.size for ax in figure.axes]))
    figure.savefig(io.BytesIO(), format="png")
    assert np.allclose(sizes[-1], sizes[-1][0])


def test_steps_have_the_same_limits_one_legend_and_their_own_titles():
    frames = [points() for _ in range(5)]
    frames = [
        Points(3 * i + f.xy, f.group, f.groups, f.sample, f.label, f.labels, title=f"common space, step {i}")
        for i, f in enumerate(frames)
    ]
    figure = draw_steps(frames)
    check_free(figure)
    assert [ax.get_title() for ax in figure.axes] == [f"step {i}" for i in range(5)]
    assert figure.get_suptitle() == "common space"
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    everything = np.concatenate([frame.xy for frame in frames])
    assert (everything > [left, low]).all()
    assert (everything < [right, high]).all()
    assert sum(ax.get_legend() is not None for ax in figure.axes) == 1
    with pytest.raises(InputError, match="at least one"):
        draw_steps([])


def test_a_legend_of_several_rows_of_steps_has_the_room_of_all_of_them():
    sizes = {}
    for count in (4, 8):  # one row and two of four
        figure = draw_steps([points(classes=10)] * count, Figure(figsize=(12, 3 * count / 4), layout="constrained"))
        check_free(figure)
        (legend,) = [ax.get_legend() for ax in figure.axes if ax.get_legend() is not None]
        sizes[count] = legend.get_texts()[0].get_fontsize() / type_of(figure.axes[0])
    assert sizes[8] >= sizes[4]
    assert sizes[8] == pytest.approx(0.8), "no smaller than beside a single picture"


def test_steps_by_value_share_one_range_of_colours():
    some = points(labels=False)
    frames = {
        str(i): Points(some.xy, some.group, some.groups, some.sample, value=np.full(len(some.xy), float(i)), unit="e")
        for i in range(3)
    }
    figure = draw_steps(frames)
    FigureCanvasAgg(figure).draw()
    assert sum(ax.get_legend() is not None for ax in figure.axes) == 1  # the nets, once
    colours = [to_hex(scatters(ax)["student"].get_facecolor()[0]) for ax in figure.axes[:3]]
    assert len(set(colours)) == 3
    assert figure.axes[-1].get_ylabel() == "e"


def test_numbers_of_runs_are_dots_in_rows():
    figure = draw_comparison({"base": Scalars({"a": 1.0, "b": 2.0}, "nats"), "other": Scalars({"b": 3.0}, "nats")})
    check_free(figure)
    ax = figure.axes[0]
    drawn = {line.get_label(): list(line.get_xdata()) for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert drawn["base"] == [1.0, 2.0]
    assert np.array_equal(drawn["other"], [np.nan, 3.0], equal_nan=True)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]


def test_matrices_of_two_runs_have_one_scale_and_a_difference():
    one, two = (Matrix(np.eye(2) * k, ("a", "b"), ("c", "d"), title="cka") for k in (1.0, 3.0))
    figure = draw_comparison({"one": one, "two": two})
    check_free(figure)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in figure.axes if ax.images] == ["one", "two", "two − one"]
    assert images[0].get_clim() == images[1].get_clim() == (0.0, 3.0)
    assert np.array_equal(images[2].get_array(), 2 * np.eye(2))
    three = draw_comparison({"one": one, "two": two, "three": one})
    assert [ax.get_title() for ax in three.axes if ax.images] == ["one", "two", "three"]


def test_curves_of_runs_are_a_panel_a_line_and_a_line_a_run():
    def curves(k: float) -> Curves:
        return Curves({n: np.arange(3) for n in ("a", "b")}, {n: k * np.arange(3.0) for n in ("a", "b")})

    figure = draw_comparison({"one": curves(1.0), "two": curves(2.0)})
    check_free(figure)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    for ax in figure.axes:
        assert {line.get_label(): list(line.get_ydata()) for line in ax.lines} == {"one": [0, 1, 2], "two": [0, 2, 4]}


def test_samples_of_runs_are_a_panel_a_group_with_the_same_bins():
    results = {run: Distribution({"a": np.arange(9.0) * k, "b": np.array([np.nan])}) for k, run in ((1, "x"), (2, "y"))}
    figure = draw_comparison(results)
    check_free(figure)
    one, two = figure.axes[0].patches
    assert np.array_equal(one.get_xy()[:, 0], two.get_xy()[:, 0])
    assert [same_color(p.get_edgecolor()[:3], c) for p, c in ((one, RUNS[0]), (two, RUNS[1]))] == [True, True]


def test_no_two_kinds_of_things_share_a_colour():
    palettes = {"nets": (STUDENT, *TEACHERS), "terms": TERMS, "runs": RUNS, "classes": class_colours(20)}
    seen = {kind: {to_hex(colour) for colour in colours} for kind, colours in palettes.items()}
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other], (one, other)


def test_points_and_diagrams_of_runs_stand_beside_one_another():
    figure = draw_comparison({"one": points(), "two": points()})
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    boxes = Diagram((Box("a", "images"),), (), "title")
    assert [ax.get_title() for ax in draw_comparison({"x": boxes, "y": boxes}).axes] == ["x: title", "y: title"]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="one shape, got Points, Scalars"):
        draw_comparison({"a": points(), "b": Scalars({})})
    with pytest.raises(InputError, match="got nothing"):
        draw_comparison({})


# Files


def test_files_are_the_same_every_time_and_svg_keeps_its_text(tmp_path):
    for ending, begin in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        made = []
        for name in ("a", "b"):
            figure = figure_for(points(), "column")
            path = save(figure, tmp_path / (name + ending))
            made.append(path.read_bytes())
        assert made[0] == made[1]
        assert made[0].startswith(begin)
    svg = (tmp_path / "a.svg").read_text()
    assert ">class 0</text>" in svg
    assert "<dc:date>" not in svg
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg", "b.pdf", "b.png", "b.svg"]


def test_another_ending_or_a_missing_folder_is_refused_and_nothing_is_written(tmp_path):
    figure = figure_for(points(), "column")
    with pytest.raises(InputError, match=r"\.pdf, \.png, \.svg"):
        save(figure, tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no folder"):
        save(figure, tmp_path / "there" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = figure_for(points(), "column")

    def fail(part, **options):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Layers of a diagram


def test_every_arrow_goes_on_to_a_later_layer_and_circles_are_refused():
    layer = layers_of("abcd", [("a", "b"), ("b", "d"), ("a", "d"), ("a", "c")])
    assert layer == {"a": 0, "b": 1, "c": 1, "d": 2}
    with pytest.raises(InputError, match="circle"):
        layers_of("ab", [("a", "b"), ("b", "a")])
    with pytest.raises(InputError, match="unknown box 'x'"):
        layers_of("ab", [("a", "x")])


def test_separated_places_are_the_nearest_that_keep_their_distance():
    from scipy.optimize import lsq_linear

    random = np.random.default_rng(0)
    for _ in range(5):
        wanted, gaps = random.normal(size=6), random.random(5)
        offsets = np.cumsum([0.0, *gaps])
        found = separated(wanted, offsets)
        assert (np.diff(found) >= gaps - 1e-9).all()
        # place = offset + start + Σ of steps that are not negative
        steps = np.tril(np.ones((6, 6)))
        best = lsq_linear(steps, wanted - offsets, bounds=([-np.inf, 0, 0, 0, 0, 0], np.inf), tol=1e-12)
        assert np.allclose(found, steps @ best.x + offsets, atol=1e-4)


@pytest.mark.parametrize("down", [False, True])
def test_boxes_do_not_meet_and_arrows_pass_between_them(down):
    random = np.random.default_rng(1)
    names = [f"b{i}" for i in range(14)]
    arrows = [(a, b, (0.0, 0.0)) for a, b in combinations(names, 2) if random.random() < 0.2]
    sizes = {name: (40 + 60 * random.random(), 20 + 30 * random.random()) for name in names}
    plan = laid_out(sizes, arrows, down=down)
    boxes = {
        n: np.array(
            [*np.subtract(plan.centres[n], np.divide(sizes[n], 2)), *np.add(plan.centres[n], np.divide(sizes[n], 2))]
        )
        for n in names
    }
    for a, b in combinations(names, 2):
        one, other = boxes[a], boxes[b]
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for (a, b, _), path in zip(arrows, plan.paths, strict=True):
        for i in range(1, len(path) - 1, 2):  # the parts that run past a layer
            for share in np.linspace(0, 1, 9):
                x, y = path[i] + share * (path[i + 1] - path[i])
                assert not any(
                    box[0] < x < box[2] and box[1] < y < box[3] for n, box in boxes.items() if n not in (a, b)
                )
        main = 1 if down else 0
        assert (np.diff(path[:, main]) >= -1e-9).all()  # never back


def test_legends_can_be_left_out():
    assert draw_points(points(), legend=False).get_legend() is None
