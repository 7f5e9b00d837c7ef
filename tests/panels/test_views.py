"""The linked views: history, tables and samples say what rows, probes and snapshots say, and select what they show."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ka_explore import Run
from ka_explore.panels import choosing, samples
from ka_explore.panels.branch import Branch
from ka_explore.panels.cells import images_of
from ka_explore.panels.choices import choices_of
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.history import History, Record, extremes
from ka_explore.panels.samples import Samples
from ka_explore.panels.session import Session
from ka_explore.panels.tables import Tables
from ka_explore.plots import smooth
from ka_explore.probes import PROBES
from ka_explore.probes.classes import classes_said
from ka_explore.probes.results import as_matrix
from ka_explore.run.snapshot import Snapshot
from tests.panels.conftest import Screen


@contextmanager
def desk_of(*branches: Branch) -> Iterator[Session]:
    session = Session(branches)
    try:
        yield session
        assert session.error == ""
    finally:
        session.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for the view thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def ask(panel: Tables | Samples, **message: object) -> None:
    panel.request(**message)
    panel.settle()


def finish(panel: FilmPanel) -> None:
    """Make all frames on this thread."""
    while panel.at_work:
        panel._pieces.go_on()


@pytest.fixture(scope="module")
def run(tiny_problem) -> Run:
    """Common feature learning with labels, a fork of it lies beside it."""
    return Run(tiny_problem(), form="clouds", steps=12, snapshot_every=4, batch_size=16).advance(None, progress=False)


@pytest.fixture(scope="module")
def fork(run) -> Run:
    return run.fork("no MMD", at=6, mmd_weight=0.0).advance(None, progress=False)


# The history


class Rows(Screen):
    """What a page has of a history: of every branch its columns, the whole first, then what came by itself."""

    def take(self, came: dict) -> None:
        super().take(came)
        self.columns = getattr(self, "columns", [])[: len(self.branches)]
        for place, branch in enumerate(came["branches"]):
            for frame in branch["frames"]:
                if came["whole"]:
                    self.columns[place:] = [frame["rows"]]
                    assert frame["start"] == 0
                else:
                    assert self.columns[place].shape[1] == frame["start"]
                    self.columns[place] = np.concatenate([self.columns[place], frame["rows"]], axis=1)


def test_the_history_holds_the_numbers_of_the_rows(run, fork):
    with desk_of(Branch(run), Branch(fork)) as session:
        session.show("common_feature", "no MMD")
        screen = Rows(History(session))
        for branch, about, columns in zip(session.compared, screen.branches, screen.columns, strict=True):
            assert about["terms"] == ["loss", *branch.rows[0]["terms"]]
            for place, row in enumerate(branch.rows):
                expected = [row["step"], row["loss"], *row["terms"].values()]
                np.testing.assert_array_equal(columns[:, place], np.float32(expected))
        assert [branch["shared"] for branch in screen.branches] == [0, 6]
        assert screen.branches[1]["fork"] == ["common_feature", 6]


def test_rows_sent_one_by_one_give_the_same_as_all_at_once(run, monkeypatch):
    branch = Branch(folder=run.folder)
    rows, branch.rows = branch.rows, branch.rows[:3]
    with desk_of(branch) as session:
        session.changed = session.receive = session.soon = lambda *_, **__: None  # this thread alone draws
        panel = History(session)
        finish(panel)
        screen = Rows(panel)
        monkeypatch.setattr(Session, "busy", True)
        for count in (4, 4, 7, 11):
            branch.rows = rows[:count]
            assert panel.state({"rows"}) == {}, "a playing run must not send everything"
        assert screen.sent == 4, "nothing new, nothing sent"
        (one_by_one,) = screen.columns
        late = Rows(panel)
        np.testing.assert_array_equal(late.columns[0], one_by_one)
        monkeypatch.setattr(Session, "busy", False)
        panel.refresh({"viewed_step"})
        (at_once,) = screen.columns
        np.testing.assert_array_equal(one_by_one, at_once)
        assert at_once.shape[1] == 11
        assert screen.sent == 5
        panel.refresh({"viewed_step"})
        assert screen.sent == 5
        assert not screen.lost


def test_a_view_that_missed_something_is_sent_everything(run, monkeypatch):
    branch = Branch(folder=run.folder)
    rows, branch.rows = branch.rows, branch.rows[:1]
    with desk_of(branch) as session:
        panel = History(session)
        panel.settle()
        monkeypatch.setattr(Session, "busy", True)
        branch.rows = rows[:4]
        panel.refresh({"rows"})
        screen, before = Rows(panel), panel.film
        panel.request(renew=True)
        panel.settle()
        assert panel.film != before
        assert screen.columns[0].shape[1] == 4
        monkeypatch.setattr(Session, "busy", False)


def test_extremes_are_those_of_every_piece_and_few():
    random = np.random.default_rng(0)
    values = random.normal(size=(5000, 3)).astype(np.float32)
    values[1000:2000, 1] = np.nan
    values[777, 0], values[3210, 2] = 50, -50
    kept = extremes(values, 350)
    assert len(kept) <= 351
    assert 777 in kept
    assert 3210 in kept
    assert kept[-1] == 4999
    assert (np.diff(kept) > 0).all()
    size = -(-5000 // (350 // 7))
    for start in range(0, 5000, size):
        piece, mine = values[start : start + size], values[kept[(kept >= start) & (kept < start + size)]]
        for term in range(3):
            if np.isfinite(piece[:, term]).any():
                assert np.nanmin(mine[:, term]) == np.nanmin(piece[:, term])
                assert np.nanmax(mine[:, term]) == np.nanmax(piece[:, term])
    np.testing.assert_array_equal(extremes(values[:350], 350), np.arange(350))


def test_a_record_grows_over_stages_with_other_terms():
    rows = [
        {"step": i + 1, "stage": "a" if i < 400 else "b", "loss": i, "terms": {"x" if i < 400 else "y": i}}
        for i in range(700)
    ]
    record = Record()
    for until_row in (3, 399, 401, 700):
        record.follow(rows[:until_row])
    assert list(record.terms) == ["loss", "x", "y"]
    assert record.stages == [(1, "a"), (401, "b")]
    np.testing.assert_array_equal(record.values[:400, 1], np.arange(400))
    np.testing.assert_array_equal(record.values[400:, 2], np.arange(400, 700))
    assert np.isnan(record.values[:400, 2]).all()
    assert np.isnan(record.values[400:, 1]).all()
    other = Record()
    other.follow([*rows[:350], *({**row, "loss": row["loss"] + (row["step"] > 360)} for row in rows[350:])])
    assert record.common_past(other) == 360
    assert other.common_past(record) == 360


def test_of_many_branches_only_those_compared_are_kept(run, fork):
    branches = [Branch(run), *(Branch(fork) for _ in range(5))]
    with desk_of(*branches) as session:
        panel = History(session)
        for name in list(session.branches):
            session.show(name)
            panel.settle()
        assert len(panel._records) == 1


def test_a_history_without_a_step(tiny_problem):
    with desk_of(Branch(Run(tiny_problem(), steps=3))) as session:
        panel = History(session)
        assert Screen(panel).frames()[0]["rows"].shape == (2, 0)
        assert "no step yet" in panel.summary()


# Tables


def test_the_tables_hold_the_numbers_of_the_probes_at_every_snapshot(run, fork):
    with desk_of(Branch(run), Branch(fork)) as session:
        session.show("common_feature", "no MMD")
        panel = Tables(session)
        screen = Screen(panel)
        assert screen.about["chosen"] == "error_by_class"
        for choice in panel.choices:
            if choice["reason"]:
                continue
            ask(panel, choose=choice["key"])
            assert screen.about["chosen"] == choice["key"]
            assert screen.steps() == [[0, 4, 8, 12]] * 2
            probe, _, whose = choice["key"].partition(":")
            options = {"teacher": whose} if whose else {}
            for place, branch in enumerate(session.compared):
                for step, table in screen.frames(place).items():
                    expected = as_matrix(PROBES[probe](branch.snapshot(step), **options))
                    np.testing.assert_array_equal(table["values"], np.float32(expected.values))
                    assert (table["rows"], table["columns"]) == (list(expected.rows), list(expected.columns))
                    assert (table["unit"], table["note"]) == (expected.unit, expected.note)
        assert not screen.lost


def test_every_matrix_among_the_probes_can_be_chosen(run):
    snapshot = Branch(run).snapshot(12)
    with desk_of(Branch(run)) as session:
        offered = {choice["key"].split(":")[0]: choice["reason"] for choice in Tables(session).choices}
    for name in ("cka", "responsibility", "mmd_curve", "gradient_ratio", "gradient_cosine", "confusion"):
        assert offered[name] == ""
    assert "weight/" in offered["selection"]
    assert not {"pca", "reliability", "entropies"} & set(offered)
    curves = as_matrix(PROBES["mmd_curve"](snapshot))
    assert curves.rows == snapshot.teachers
    assert f"floor 2/N = {2 / len(snapshot.index):.3g}" in curves.note


def test_while_a_run_plays_only_what_is_new_and_cheap_is_computed(run, monkeypatch):
    with desk_of(Branch(run)) as session:
        panel = Tables(session)
        panel.settle()
        screen = Screen(panel)
        monkeypatch.setattr(Session, "busy", True)
        panel._kept.only(())
        panel._costs["error_by_class"] = 1.0
        assert "film" not in panel.state({"snapshots"})
        assert not panel._kept._frames
        panel._costs["error_by_class"] = 0.001
        panel.state({"snapshots"})
        assert list(panel.there().values()) == [[12]]
        assert screen.sent == 1, "what is known was sent again"
        monkeypatch.setattr(Session, "busy", False)


def test_a_table_that_came_alone_is_that_of_the_step(run, monkeypatch):
    branch = Branch(run)
    with desk_of(branch) as session:
        panel = Tables(session)
        panel.settle()
        screen = Screen(panel)
        before = panel.film
        monkeypatch.setattr(Session, "busy", True)
        branch.live = replace(branch.snapshot(12), step=13)
        session.changed("snapshots")
        panel.settle()
        assert panel.film == before, "a playing run must not send everything"
        assert screen.steps() == [[0, 4, 8, 12, 13]]
        table, expected = screen.frames()[13], PROBES["error_by_class"](branch.live)
        assert tuple(table["columns"]) == expected.columns
        np.testing.assert_array_equal(table["values"], np.float32(expected.values))
        late = Screen(panel)
        assert late.steps() == screen.steps(), "a page that is loaded anew knows less"
        monkeypatch.setattr(Session, "busy", False)


def test_a_class_selects_exactly_its_images(run):
    branch = Branch(run)
    snapshot = branch.snapshot(12)
    labels = snapshot.labels["class"]
    with desk_of(branch) as session:
        panel = Tables(session)
        for column, (_, label) in enumerate(snapshot.classes):
            ask(panel, branch=branch.name, step=12, table="error_by_class", row=None, column=label)
            np.testing.assert_array_equal(session.selection, np.flatnonzero(labels == column))
            ask(panel, branch=branch.name, step=12, table="error_by_class", row="teacher 1", column=label)
        ask(panel, branch=branch.name, step=12, table="error_by_class", row="teacher 1", column=None)
        np.testing.assert_array_equal(session.selection, np.flatnonzero(np.isin(labels, snapshot.knows["teacher 1"])))


def test_a_cell_of_a_confusion_selects_what_it_counts(run):
    snapshot = Branch(run).snapshot(12)
    table = PROBES["confusion"](snapshot)
    counted = sum(
        int(images_of(snapshot, "confusion", row, column).sum()) for row in table.rows for column in table.columns
    )
    assert counted == len(snapshot.index)
    for i, row in enumerate(table.rows):
        of_row = images_of(snapshot, "confusion", row, None).sum()
        for j, column in enumerate(table.columns):
            share = images_of(snapshot, "confusion", row, column).sum() / of_row
            assert share == pytest.approx(table.values[i, j])
    with_teacher = PROBES["confusion_with"](snapshot, "teacher 1")
    for i, row in enumerate(with_teacher.rows):
        of_row = images_of(snapshot, "confusion_with:teacher 1", row, None).sum()
        for j, column in enumerate(with_teacher.columns):
            cell = images_of(snapshot, "confusion_with:teacher 1", row, column).sum()
            assert cell == pytest.approx(np.nan_to_num(with_teacher.values[i, j]) * of_row)


def test_without_labels_a_class_is_as_the_table_counts_it_or_as_the_student_answers(run):
    snapshot = replace(Branch(run).snapshot(12), labels=None)
    said = classes_said(snapshot, "class")
    answers = snapshot.arrays["scores"].argmax(axis=1)
    for place, (_, label) in enumerate(snapshot.classes):
        np.testing.assert_array_equal(images_of(snapshot, "error_by_class", None, label), said == place)
        np.testing.assert_array_equal(images_of(snapshot, "agreement", label, None), answers == place)
    assert images_of(snapshot, "cka", "student conv1", "student conv2") is None


def test_a_claim_selects_the_images_that_a_teacher_claims_most(run):
    snapshot = Branch(run).snapshot(12)
    parts = [images_of(snapshot, "responsibility", "own answers", teacher) for teacher in snapshot.teachers]
    assert (np.sum(parts, axis=0) == 1).all()
    best = [max(range(3), key=snapshot.arrays["logits/teacher 0"][i].__getitem__) for i in range(3)]
    assert len(best) == 3
    per_image = [PROBES["responsibility"](snapshot, sample=i) for i in range(5)]
    for i, claims in enumerate(per_image):
        assert parts[int(claims.values[claims.rows.index("own answers")].argmax())][i]


# Samples


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_the_samples_say_what_the_nets_say_at_every_snapshot(run, fork):
    with desk_of(Branch(run), Branch(fork)) as session:
        session.show("common_feature", "no MMD")
        panel = Samples(session)
        screen = Screen(panel)
        chosen = [3, 8, 21, 34]
        session.select(chosen)
        panel.settle()
        about, snapshot = screen.about, session.branch.snapshot(12)
        assert about["samples"] == chosen
        assert screen.steps() == [[0, 4, 8, 12]] * 2
        np.testing.assert_array_equal(about["truth"][0], snapshot.labels["class"][chosen])
        for row, net in enumerate(about["teachers"]):
            shares = softmax(snapshot.arrays[f"logits/{net['name']}"][chosen])
            np.testing.assert_array_equal(about["taught"][row, :, 0], np.array(net["knows"])[shares.argmax(axis=1)])
            np.testing.assert_allclose(about["taught"][row, :, 1], shares.max(axis=1), rtol=1e-5)
        for place, branch in enumerate(session.compared):
            for step, frame in screen.frames(place).items():
                shares = softmax(branch.snapshot(step).arrays["scores"][chosen])
                np.testing.assert_array_equal(frame["answers"][0, :, 0], shares.argmax(axis=1))
                np.testing.assert_allclose(frame["answers"][0, :, 1], shares.max(axis=1), rtol=1e-5)
        assert panel.header["title"].startswith("selection: 4 images")


def test_the_sheet_holds_the_images_that_are_shown(run):
    with desk_of(Branch(run)) as session:
        panel = Samples(session)
        session.select([5, 6, 40])
        panel.settle()
        shown = Screen(panel).about
        assert shown["samples"] == [5, 6, 40]
        kind, code = panel.sheet.split(",")
        assert kind == "data:image/png;base64"
        sheet, about = np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))), shown["sheet"]
        for place, index in enumerate(shown["index"]):
            row, column = divmod(place, about["columns"])
            part = sheet[row * about["height"] :, column * about["width"] :][: about["height"], : about["width"]]
            image = run.problem.pool.images[np.array([index])][0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(part / 255, image, atol=0.6 / 255)


def test_a_folder_without_its_problem_has_answers_and_no_image(run):
    with desk_of(Branch(folder=run.folder)) as session:
        panel = Samples(session)
        assert panel.sheet == ""
        about = Screen(panel).about
        assert about["sheet"] == {}
        assert len(about["truth"][0]) == choosing.HANDFUL


def test_what_is_clicked_stays_what_is_selected_elsewhere_is_shown(run):
    with desk_of(Branch(run)) as session:
        panel = Samples(session)
        screen = Screen(panel)
        first = screen.about["samples"]
        ask(panel, toggle=first[2])
        assert session.selection.tolist() == [first[2]]
        assert panel.selected == np.array([first[2]], "<i4").tobytes()
        assert screen.about["samples"] == first, "a tile that is clicked must not run away"
        ask(panel, all=True)
        assert session.selection.tolist() == sorted(first)
        ask(panel, keep="a few of all")
        assert [kept["name"] for kept in panel.kept] == ["a few of all"]
        ask(panel, invert=True)
        assert screen.about["samples"] == sorted(set(range(60)) - set(first))
        assert screen.about["shows"] == "selection"
        ask(panel, again="a few of all")
        assert screen.about["samples"] == sorted(first)
        ask(panel, clear=True)
        assert screen.about["shows"] == "handful"
        assert not len(session.selection)
        ask(panel, forget="a few of all")
        assert panel.kept == []


def test_of_many_images_some_are_drawn_and_how_many_there_are_is_said(run, monkeypatch):
    monkeypatch.setattr(samples, "DRAWN", 10)
    with desk_of(Branch(run)) as session:
        panel = Samples(session)
        session.select(range(30))
        panel.settle()
        assert len(Screen(panel).about["samples"]) == 10
        assert panel.header["all"] == 30


def test_a_handful_has_images_of_every_class():
    labels = np.array([0] * 50 + [1] * 5 + [2] * 2 + [-1])
    found = choosing.handful(labels)
    assert len(found) == choosing.HANDFUL == len(set(found.tolist()))
    assert {label: int((labels[found] == label).sum()) for label in (1, 2, -1)} == {1: 5, 2: 2, -1: 1}


def test_the_worst_come_first(run):
    snapshot = Branch(run).snapshot(12)
    errors = np.mean([snapshot.arrays[f"error/{teacher}"] for teacher in snapshot.teachers], axis=0)
    np.testing.assert_array_equal(choosing.ranked(snapshot, "error"), np.argsort(-errors, kind="stable")[:24])
    shares = softmax(snapshot.arrays["scores"])
    np.testing.assert_array_equal(
        choosing.ranked(snapshot, "unsure"), np.argsort(shares.max(axis=1).astype(np.float32), kind="stable")[:24]
    )
    wrong = choosing.ranked(snapshot, "wrong")
    assert (shares.argmax(axis=1)[wrong] != snapshot.labels["class"][wrong]).all()
    gaps = np.full(len(snapshot.index), -np.inf)
    for teacher, columns in snapshot.knows.items():
        for i in range(len(gaps)):
            taught = softmax(snapshot.arrays[f"logits/{teacher}"][i : i + 1])[0]
            own = softmax(snapshot.arrays["scores"][i : i + 1, list(columns)])[0]
            gaps[i] = max(gaps[i], taught.max() - own[taught.argmax()])
    np.testing.assert_allclose(choosing.disagreement(snapshot), gaps, atol=1e-6)
    without = replace(
        snapshot, arrays={n: a for n, a in snapshot.arrays.items() if not n.startswith("error/")}, labels=None
    )
    assert [mode["key"] for mode in choosing.modes_of(without) if mode["reason"]] == ["error", "wrong"]
    assert choosing.ranked(without, "error") is None
    assert choosing.ranked(without, "wrong") is None


def test_a_selection_is_described_by_its_class_and_its_worst_teacher(run):
    snapshot = Branch(run).snapshot(12)
    places = np.flatnonzero(snapshot.labels["class"] == 2)
    said = choosing.described(snapshot, places)
    errors = {teacher: snapshot.arrays[f"error/{teacher}"][places].mean() for teacher in snapshot.teachers}
    assert said.startswith(f"selection: {len(places)} images, class class 2 mostly, worst for ")
    assert max(errors, key=errors.get) in said


def test_while_a_run_plays_the_images_stay(run, monkeypatch):
    branch = Branch(run)
    with desk_of(branch) as session:
        panel = Samples(session)
        screen = Screen(panel)
        ask(panel, mode="error")
        assert screen.about["shows"] == "error"
        assert "step 12" in panel.header["title"]
        before = screen.about["samples"]
        monkeypatch.setattr(Session, "busy", True)
        other = {name: array[::-1].copy() for name, array in branch.snapshot(12).arrays.items()}
        branch.live = replace(branch.snapshot(12), step=13, arrays=other)
        session.look_at(13.0)
        panel.settle()
        assert screen.about["samples"] == before
        shares = softmax(branch.live.arrays["scores"][before])
        np.testing.assert_allclose(screen.frames()[13]["answers"][0, :, 1], shares.max(axis=1), atol=1e-5)
        monkeypatch.setattr(Session, "busy", False)
        session.changed("viewed_step")
        panel.settle()
        assert screen.about["samples"] != before


# Where no kernel is


def test_a_saved_notebook_has_the_terms_and_the_table(run, fork):
    with desk_of(Branch(run), Branch(fork)) as session:
        panel, table = History(session), Tables(session)
        ax = Figure().add_subplot()
        panel.drawn(ax)
        rows = session.branch.rows
        drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
        for term in rows[0]["terms"]:
            np.testing.assert_allclose(drawn[term], smooth([row["terms"][term] for row in rows]))
        ax = Figure().add_subplot()
        table.drawn(ax)
        expected = PROBES["error_by_class"](session.branch.snapshot(12)).values
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
        session.show("common_feature", "no MMD")
        ax = Figure().add_subplot()
        panel.drawn(ax)
        assert {"common_feature", "no MMD"} <= {line.get_label() for line in ax.lines}
        assert f"loss {session.compared[1].rows[-1]['loss']:.3g} after step 12" in panel.summary()
        least, most = expected.min(), expected.max()
        assert f"{least:.3g} (" in table.summary().splitlines()[0]
        assert f"to {most:.3g} (" in table.summary().splitlines()[0]


# Everything that may come


def with_nan(snapshot: Snapshot) -> Snapshot:
    arrays = {}
    for name, array in snapshot.arrays.items():
        arrays[name] = array.copy()
        if array.dtype.kind == "f":
            arrays[name][:3] = np.nan
    return replace(snapshot, arrays=arrays)


def first_sample(snapshot: Snapshot) -> Snapshot:
    labels = snapshot.labels and {task: y[:1] for task, y in snapshot.labels.items()}
    arrays = {name: array[:1] for name, array in snapshot.arrays.items()}
    return replace(snapshot, index=snapshot.index[:1], labels=labels, arrays=arrays)


CASES = {
    "five teachers": ({"teachers": 5}, {}),
    "no labels, overlapping classes": ({"overlap": True, "labels": False, "test": 0}, {}),
    "two tasks": ({"teachers": 4, "tasks": 2, "shape": (1, 16, 16)}, {}),
    "distillation": ({}, {"method": "distillation"}),
    "adaptive": ({}, {"method": "adaptive"}),
    "ensemble": ({}, {"method": "ensemble"}),
}


@pytest.mark.parametrize("case", CASES)
def test_all_views_of_any_run(tiny_problem, case):
    options, settings = CASES[case]
    steps = {} if case == "ensemble" else {"steps": 6, "batch_size": 16}
    made = Run(tiny_problem(**options), snapshot_every=3, **(steps | settings)).advance(None, progress=False)
    branch = Branch(made)
    original = made.snapshot()
    with desk_of(branch) as session:
        session.changed = session.receive = session.soon = lambda *_, **__: None  # this thread alone draws
        for change in (lambda snapshot: snapshot, with_nan, first_sample):
            branch.live = change(replace(original, step=1000))
            session.look_at(1000.0)
            session.selection = np.zeros(1, np.int64)
            table, some = Tables(session), Samples(session)
            for choice in choices_of(branch.live).values():
                table._chosen = choice.key
                table.refresh(table.topics)
            finish(table)
            assert len(Screen(table).branches[0]["frames"]) == len(branch.steps_seen())
            for mode in [samples.SELECTION, *choosing.MODES]:
                some._shows, some._chosen_for = mode, None
                some.refresh(some.topics)
                assert len(Screen(some).about["teachers"]) == len(branch.live.knows)
            for panel in (History(session), table, some):
                assert panel.summary()
