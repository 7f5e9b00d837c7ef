"""The workbench from Python: its parts, what it does for a cell, what it leaves in a saved notebook."""

import json
import time
from html.parser import HTMLParser
from itertools import combinations

import nbformat
import numpy as np
import pytest

from ka_explore import InputError, Run

pytest.importorskip("anywidget", reason="needs the extra lab: pip install 'ka-explore[lab]'")
from ka_explore.panels import PANELS, workbench
from ka_explore.panels.layout import WIDTHS, Room, grid_rows
from ka_explore.panels.widget import Panel

OPTIONS = {"steps": 20, "batch_size": 16, "width": 4, "blocks": 1, "checkpoint_every": 10, "snapshot_every": 5}


def rows_of(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


@pytest.fixture
def run(tiny_problem):
    return Run(tiny_problem(), name="base", **OPTIONS)


@pytest.fixture
def bench(run):
    made = workbench(run)
    yield made
    made.close()


class Mine(Panel):
    """A panel of somebody else's: it says nothing of its room."""

    _esm = "export default { render({model, el}) { el.textContent = 'mine'; } };"
    topics = frozenset({"branches"})

    def state(self, changed):
        return {}

    def summary(self):
        return f"mine: {self.session.active}"


def columns(rows):
    return [(row.left, row.right) for row in rows]


ROOMS = {name: part.room for name, part in PANELS.items()} | {"mine": Mine.room}


@pytest.mark.parametrize("layout", WIDTHS)
def test_whatever_is_shown_stands_in_rectangles(layout):
    for count in range(1, len(ROOMS) + 1):
        for parts in combinations(ROOMS, count):
            grid = columns(grid_rows({name: ROOMS[name] for name in parts}, layout))
            assert {name for names in grid for name in names} == set(parts)
            for part in parts:
                rows = [y for y, names in enumerate(grid) if part in names]
                sides = {tuple(x for x, name in enumerate(grid[y]) if name == part) for y in rows}
                assert len(sides) == 1, (parts, grid)
                assert rows == list(range(rows[0], rows[-1] + 1)), (parts, grid)


@pytest.mark.parametrize(("layout", "heights"), [("laptop", [270, 230]), ("projector", [350, 350])])
def test_two_stand_beside_one_and_are_together_as_high(layout, heights):
    rooms = {name: ROOMS[name] for name in ("points", "history", "tables")}
    rows = grid_rows(rooms, layout)
    assert columns(rows) == [("points", "history"), ("points", "tables")]
    assert [row.height for row in rows] == heights
    (alone,) = grid_rows({name: rooms[name] for name in ("points", "tables")}, layout)
    assert alone.height == rooms["points"][list(WIDTHS).index(layout)] == sum(heights) + 6


def test_rooms_that_name_each_other_or_nobody_stand_in_rows_of_their_own():
    rooms = {"a": Room(beside="b"), "b": Room(beside="a"), "c": Room(beside="c"), "d": Room(beside="nobody")}
    assert columns(grid_rows(rooms, "laptop")) == [(name, name) for name in rooms]


@pytest.mark.parametrize("layout", WIDTHS)
def test_a_panel_of_ones_own_is_one_row_or_no_row_at_all(run, layout, monkeypatch):
    run.advance(3)
    made = workbench(run, show=["player", Mine], layout=layout)
    try:
        assert list(made.panels) == ["player", "Mine"]
        assert "mine: base" in repr(made)
    finally:
        made.close()
    monkeypatch.setitem(PANELS, "mine", Mine)
    made = workbench(run, show=[Mine, "points"], layout=layout)
    try:
        assert list(made.panels) == ["points", "mine"]
        areas = made._box.children[0].layout.grid_template_areas
        assert areas == '"panel-0 panel-0" "panel-1 panel-1"'
    finally:
        made.close()


def test_the_old_name_of_the_table_of_panels_goes_on_working():
    with pytest.warns(FutureWarning, match="PARTS is PANELS since version"):
        from ka_explore.panels import PARTS
    assert PARTS is PANELS


@pytest.mark.parametrize("part", PANELS)
def test_every_part_stands_alone(run, part):
    run.advance(10)
    made = workbench(run, show=[part])
    try:
        assert list(made.panels) == [part]
        assert part in PANELS
        assert isinstance(made.panels[part].summary(), str)
    finally:
        made.close()


def test_a_cell_drives_the_run_as_the_run_itself_would_be(bench, run, tiny_problem):
    alone = Run(tiny_problem(), name="base", **OPTIONS).advance(None)
    assert bench.advance(7).run is run
    assert run.step == 7
    bench.advance(None)
    assert rows_of(run) == rows_of(alone)
    assert bench.rewind(4).run.step == 4
    bench.play()
    while not run.done:
        time.sleep(0.01)
    bench.pause()


def test_a_fork_is_shown_beside_its_parent_and_active(bench, run):
    bench.advance(8)
    fork = bench.fork("no MMD", at=5, mmd_weight=0.0)
    assert fork.step == 5
    assert bench.run is fork
    assert list(bench.runs) == ["base", "no MMD"]
    assert bench._session.shown == ("base", "no MMD")
    bench.show("base")
    assert bench.run is run
    with pytest.raises(InputError, match="nowhere"):
        bench.show("nowhere")


def test_what_a_cell_selects_and_colours_is_in_every_view(bench):
    bench.advance(5)
    assert bench.select([4, 2]).selection.tolist() == [2, 4]
    assert bench.selection.dtype == np.int64
    bench.selection[0] = 99
    assert bench.selection.tolist() == [2, 4]
    bench.colour("net").view("pca")
    with pytest.raises(InputError, match="pink"):
        bench.colour("pink")
    with pytest.raises(InputError, match="photo"):
        bench.view("photo")


def test_folders_are_opened_by_name_and_by_the_folder_around_them(tiny_problem, tmp_path):
    for name in ("one", "two"):
        Run(tiny_problem(), name=name, folder=tmp_path / name, **OPTIONS).advance(6).save()
    made = workbench(tmp_path, problem=tiny_problem())
    try:
        assert list(made._session.branches) == ["one", "two"]
        assert made.runs == {}
        assert made.advance(2).run.step == 8
        assert list(made.runs) == ["one"]
    finally:
        made.close()
    with pytest.raises(InputError, match="there is no run in"):
        workbench(tmp_path / "one" / "checkpoints")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {}, "needs a run"),
        (("run",), {"layout": "poster"}, "unknown layout"),
        (("run",), {"show": ["points", "pionts"]}, "Did you mean 'points'"),
        (("run",), {"show": []}, "expected a list of different parts"),
        (("run",), {"show": ["points", "points"]}, "expected a list of different parts"),
        (("run",), {"show": "points"}, "expected a list of different parts"),
        (("run",), {"show": [PANELS["points"], "points"]}, "expected a list of different parts"),
    ],
)
def test_what_does_not_fit_is_said(run, arguments, options, words):
    with pytest.raises(InputError, match=words):
        workbench(*[run for _ in arguments], **options)


@pytest.mark.parametrize("thing", [5, None, b"runs", Run, {"folder": "runs"}])
def test_what_is_no_run_and_no_folder_is_refused(thing):
    with pytest.raises(InputError, match="expected runs, or folders of runs, got"):
        workbench(thing)


def test_an_interrupted_cell_pauses_the_run(bench, run, monkeypatch):
    session = bench._session
    session.driver.play_interval = 0.05

    class Interrupted:
        def result(self):
            while run.step < 3:
                time.sleep(0.005)
            raise KeyboardInterrupt

    play = session.play
    monkeypatch.setattr(session, "play", lambda until=None: (play(until), Interrupted())[1])
    with pytest.raises(KeyboardInterrupt):
        bench.advance(None)
    end = time.monotonic() + 5
    while session.busy and time.monotonic() < end:
        time.sleep(0.01)
    assert not session.busy
    assert 3 <= run.step < 20


class Images(HTMLParser):
    """The images of a page, and its figures' classes."""

    def __init__(self):
        super().__init__()
        self.images, self.figures = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        if tag == "figure":
            self.figures.append(dict(attributes)["class"])


def test_a_picture_and_words_are_left_for_where_no_kernel_is(bench):
    bench.advance(10)
    bundle = bench._static.bundle()
    page = Images()
    page.feed(bundle["text/html"])
    assert page.figures == [f"ka-static ka-static-{bench._session.id}"]
    assert page.images[0]["src"] == f"data:image/png;base64,{bundle['image/png']}"
    assert "base: step 10 of 20" in bundle["text/plain"]
    assert "base: step 10 of 20" in page.images[0]["alt"]


NOTEBOOK = """
from ka_explore import Run, toy
from ka_explore.panels import workbench
run = Run(toy.digits(), name="base", steps=20, snapshot_every=5)
bench = workbench(run)
bench
"""


@pytest.mark.slow
def test_an_executed_notebook_keeps_the_last_pictures_and_its_page_shows_them(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install nbclient")
    from nbconvert import HTMLExporter

    code = [nbformat.v4.new_code_cell(source) for source in (NOTEBOOK, "bench.advance(None)", "bench.close()")]
    notebook = nbformat.v4.new_notebook(cells=code)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    outputs = notebook.cells[0].outputs
    assert any("application/vnd.jupyter.widget-view+json" in output.data for output in outputs)
    (static,) = [output for output in outputs if "text/html" in output.data]
    assert "image/png" in static.data
    assert "widgets" not in notebook.metadata
    page, _ = HTMLExporter().from_notebook_node(notebook)
    found = Images()
    found.feed(page)
    assert any(image["src"].startswith("data:image/png") for image in found.images)
    assert len(json.dumps(notebook)) < 1_500_000
