"""Plots are read back from their artists: what was handed in is what is drawn."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

from ka_explore import InputError
from ka_explore.plots import MARKERS, STUDENT, TEACHERS, class_colours, colour_of, draw, draw_history, marker_of, smooth
from ka_explore.results import Distribution, Matrix, Points, Scalars

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
    [Scalars({"a": 1.0}), Matrix(np.eye(2), ("a", "b"), ("c", "d")), points(), Distribution({"a": np.ones(3)})],
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


@pytest.mark.parametrize("name", ["$5", r"a $\frac$ b", "$x$", "_hidden", "100 %", "a\nb", "<b>", "{x}", "\\"])
def test_any_name_can_be_drawn_as_it_stands(name):
    matrix = Matrix(np.eye(2), (name, "b"), ("c", name))
    some = Points(np.zeros((2, 2)), np.arange(2), ("student", name), np.zeros(2), np.zeros(2, int), (name,))
    for result in (Scalars({name: 1.0}, title="x"), matrix, some, Distribution({name: np.arange(3.0)})):
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
from ka_explore.results import Distribution, Matrix, Points, Scalars
draw(Scalars({"a": 1.0})); draw(Matrix(np.eye(2), ("a", "b"), ("c", "d"))); draw(Distribution({"a": np.arange(3.)}))
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
    nets = [artist for artist in ax.get_children() if type(artist).__name__ == "Legend"]
    texts = [[text.get_text() for text in legend.get_texts()] for legend in nets]
    assert list(NETS) in texts
    assert ["class 0", "class 1", "class 2"] in texts
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
        assert shown == {(r, c): f"{values[r, c]:.2g}" for r in range(2) for c in range(3)}
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "share"


def test_a_large_matrix_has_no_numbers_in_it():
    assert draw(Matrix(np.zeros((20, 20)), tuple(map(str, range(20))), tuple(map(str, range(20))))).texts[:] == []


def test_a_histogram_counts_every_finite_value_once():
    random = np.random.default_rng(0)
    values = {"one": random.random(50), "two": np.array([np.nan, np.inf, 0.5]), "three": np.array([np.nan])}
    ax = rendered(draw(Distribution(values, unit="share")))
    counted = [patch.get_xy() for patch in ax.patches]
    assert [round(xy[1:-1:2, 1].sum()) for xy in counted] == [50, 1, 0]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == f"one (median {np.median(values['one']):.2g})"
    assert texts[1:] == ["two (median 0.5)", "three (no finite value)"]
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


def test_stages_are_told_apart_by_a_line_where_the_next_begins():
    ax = draw_history({"a": [row(1, 1.0), row(2, 1.0), row(3, 1.0, "second"), row(4, 1.0, "second")]}, "soft")
    assert [list(line.get_xdata()) for line in ax.lines[1:]] == [[3, 3]]


def test_zeros_do_not_break_the_log_axis():
    rendered(draw_history({"a": [row(1, 0.0), row(2, 0.0)]}, "soft"))
    rendered(draw_history({"a": [row(1, 0.0), row(2, 1.0)], "b": []}, "soft"))


def test_a_term_that_no_run_has_is_refused():
    for histories in ({"a": [row(1, 1.0)]}, {"a": []}, {}):
        with pytest.raises(InputError, match="no run has a term 'nothing'"):
            draw_history(histories, "nothing")
