"""What the points panel holds: frames as the probes project them, axes that do not flip, colours, answers, images."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from ka_explore import LabelSpace, Problem, Run, Student
from ka_explore.errors import InputError
from ka_explore.panels import points
from ka_explore.panels import spaces as film
from ka_explore.panels.branch import Branch
from ka_explore.panels.colouring import coloured, numbers_of
from ka_explore.panels.images import sheet_of
from ka_explore.panels.pairs import found_in, pairs_in_words
from ka_explore.panels.pieces import SLICE, Pieces
from ka_explore.panels.plane import Plane, laid_onto, shared_axes
from ka_explore.panels.points import Points
from ka_explore.panels.predictions import answers_of, heads_of, packed
from ka_explore.panels.session import Session
from ka_explore.probes import embedding, ways
from ka_explore.probes.alignment import pairs_found
from ka_explore.probes.clouds import KINDS, project
from ka_explore.probes.colouring import colour
from ka_explore.probes.fitting import fit_basis
from ka_explore.probes.jobs import embed
from ka_explore.probes.spaces import rows_of
from ka_explore.run.snapshot import Snapshot
from tests.panels.conftest import Screen
from tests.shared.clouds import clouds, far_apart, stored

Ready = Callable[..., tuple[Points, Session]]


@pytest.fixture
def ready(tmp_path) -> Iterator[Ready]:
    """A panel of runs, with all its frames; the session is closed in the end."""
    sessions = []

    def make(*runs: Run, **options) -> tuple[Points, Session]:
        session = Session([Branch(run) for run in runs])
        sessions.append(session)
        session.show(*session.branches)
        panel = Points(session, **options)
        panel.settle(20)
        return panel, session

    yield make
    for session in sessions:
        session.close()


def trained(problem: Problem, steps: int = 12, done: int | None = None, **options) -> Run:
    run = Run(problem, **{"steps": steps, "batch_size": 16, "snapshot_every": 3} | options)
    return run.advance(steps if done is None else done, progress=False)


@pytest.fixture(scope="module")
def base(tiny_problem) -> Run:
    """A run of twelve steps that nobody drives on."""
    return trained(tiny_problem())


def positions(panel: Points) -> list[np.ndarray]:
    """The frames of every branch, as the browser reads them: (frame, point, 2)."""
    return [np.array([frame["xy"] for frame in branch["frames"]]) for branch in Screen(panel).branches]


def about(panel: Points) -> dict[str, Any]:
    """What is the same at every step."""
    return Screen(panel).about


def told(panel: Points, what: str, branch: int = 0) -> list[Any]:
    """What every frame of a branch says of this."""
    return [frame[what] for frame in Screen(panel).branches[branch]["frames"]]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


# Frames


def test_the_buffer_holds_what_the_probes_project(tiny_problem, ready):
    panel, session = ready(trained(tiny_problem(teachers=3)))
    assert told(panel, "step") == [0, 3, 6, 9, 12]
    assert [net["name"] for net in about(panel)["nets"]] == ["student", "teacher 0", "teacher 1", "teacher 2"]
    for step, xy in zip(told(panel, "step"), positions(panel)[0], strict=True):
        expected = embedding.pca(session.branch.snapshot(step), panel.plane.basis)
        np.testing.assert_allclose(xy, expected.xy, atol=1e-6)


def test_a_frame_that_comes_while_it_plays_is_sent_by_itself_and_stays_for_a_page_that_is_loaded_anew(
    tiny_problem, ready, monkeypatch
):
    panel, session = ready(trained(tiny_problem(), steps=40, done=9))
    screen, before = Screen(panel), panel.film
    monkeypatch.setattr(Session, "busy", True)
    session.branch.run.advance(3, progress=False)
    panel.refresh({"snapshots"})
    assert panel.film == before, "everything was sent while it plays"
    assert screen.steps() == [[0, 3, 6, 9, 12]]
    expected = embedding.pca(session.branch.snapshot(12), panel.plane.basis).xy
    np.testing.assert_allclose(screen.frames()[12]["xy"], expected, atol=1e-6)
    assert not screen.lost
    late = Screen(panel)
    assert late.steps() == screen.steps()
    np.testing.assert_array_equal(late.frames()[12]["xy"], screen.frames()[12]["xy"])
    monkeypatch.setattr(Session, "busy", False)


def test_where_the_run_stands_is_a_last_frame_that_is_replaced(tiny_problem, ready):
    panel, session = ready(trained(tiny_problem(), steps=40, done=9))
    for step in (10, 11):
        session.branch.run.advance(1, progress=False)
        session.branch.live = session.branch.run.snapshot()
        session.changed("snapshots")
        panel.settle()
        assert told(panel, "step") == [0, 3, 6, 9, step]


def test_axes_are_fitted_anew_when_the_history_has_doubled_and_at_the_end(tiny_problem, ready):
    panel, session = ready(trained(tiny_problem(), steps=24, done=0))
    fits = [panel.plane.basis.steps]
    for _ in range(8):
        session.play(session.branch.step + 3).result(20)
        until(lambda: not session.busy)
        panel.settle()
        if panel.plane.basis.steps != fits[-1]:
            fits.append(panel.plane.basis.steps)
    assert [max(steps) for steps in fits] == [0, 3, 9, 21, 24]
    assert all(len(steps) <= 5 for steps in fits)


def test_laying_axes_onto_old_ones_keeps_distances_and_undoes_a_flip(base):
    snapshot = base.snapshot()
    old = fit_basis(snapshot)
    flipped = replace(old, axes=old.axes[::-1] * np.array([[-1.0], [1.0]]))
    parts = list(rows_of(snapshot, "common").values())
    laid = laid_onto(flipped, old, parts)
    np.testing.assert_allclose(project(parts, laid)[0], project(parts, old)[0], atol=1e-9)

    random = np.random.default_rng(0)
    other = replace(old, axes=np.linalg.qr(random.normal(size=(old.axes.shape[1], 2)))[0].T)
    laid = laid_onto(other, old, parts)
    there, here = project(parts, laid)[0], project(parts, other)[0]
    distances = [np.linalg.norm(xy[:, None] - xy[None], axis=-1) for xy in (there, here)]
    np.testing.assert_allclose(*distances, atol=1e-9)
    target = project(parts, old)[0]
    miss = [float(((xy - xy.mean(0) - target + target.mean(0)) ** 2).sum()) for xy in (there, here)]
    assert miss[0] < miss[1], "the turned axes are no nearer to the old picture"


def test_every_second_frame_goes_when_there_are_too_many(tiny_problem, ready, monkeypatch):
    monkeypatch.setattr(film, "MOST_FRAMES", 4)
    panel, _ = ready(trained(tiny_problem(), steps=24))
    assert told(panel, "step") == [0, 12, 24]
    assert Screen(panel).branches[0]["every"] == 4
    steps = [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert set(told(panel, "step")) <= set(steps)


def test_frames_of_very_many_points_are_fewer():
    assert film.most_frames(5400, 1) == 64
    many = film.most_frames(150_000, 3)
    assert 8 <= many < 64
    assert film.most_frames(10**7, 3) == 8


# Branches


def test_branches_share_axes_and_a_fork_begins_as_its_parent(base, ready):
    fork = base.fork("fork", at=6, learning_rate=0.01)
    fork.advance(6, progress=False)
    panel, session = ready(base, fork)
    one, other = positions(panel)
    np.testing.assert_array_equal(one[:3], other[:3])
    assert not np.array_equal(one[-1], other[-1])
    for branch, xy in zip(session.compared, (one[-1], other[-1]), strict=True):
        np.testing.assert_allclose(xy, embedding.pca(branch.snapshot(12), panel.plane.basis).xy, atol=1e-6)


def test_axes_are_those_of_the_branches_that_are_shown(base, ready):
    panel, session = ready(base)
    before = positions(panel)[0]
    session.fork({"learning_rate": 0.01}, name="other", at=6).result(20)
    until(lambda: len(Screen(panel).branches) == 2)
    panel.settle()
    assert [branch["name"] for branch in Screen(panel).branches] == [session.shown[0], "other"]
    one, other = positions(panel)
    np.testing.assert_array_equal(other, one[:3])
    both = shared_axes(session.compared, "common")
    assert panel.plane.basis.runs == both.runs == 2
    planes = (basis.axes.T @ basis.axes for basis in (panel.plane.basis, both))  # but for a turn within
    np.testing.assert_allclose(*planes, atol=1e-9)
    assert np.abs(one - before).mean() < 0.5 * before.std(), "the picture is turned though it need not be"
    session.show("other")
    until(lambda: len(Screen(panel).branches) == 1)
    panel.settle()
    assert [branch["name"] for branch in Screen(panel).branches] == ["other"]
    assert panel.plane.basis.runs == 1


def test_branches_in_another_order_show_the_plane_again(base, ready):
    fork = base.fork("swapped", at=6, learning_rate=0.01)
    panel, session = ready(base, fork)
    shown = session.shown
    frames = {b: {step: panel.frame_at(b, step) for step in steps} for b, steps in panel.there().items()}
    panel.films["tsne"] = SimpleNamespace(frames=frames, behind=lambda: False)
    panel.how = "tsne"
    session.show(*reversed(shown))
    panel.settle()
    assert [branch["name"] for branch in Screen(panel).branches] == list(reversed(shown))
    assert about(panel)["picture"]["how"] == "pca"
    assert about(panel)["picture"]["empty"] == ""
    assert [len(branch["frames"]) for branch in Screen(panel).branches] == [3, 5]


@pytest.fixture
def of_clouds(tmp_path) -> Iterator[Callable[..., tuple[Points, Session]]]:
    """A panel of branches whose clouds lie as far apart as is said, at so many steps each."""
    sessions = []

    def make(**branches: tuple[float, int]) -> tuple[Points, Session]:
        folders = []
        for name, (gap, count) in branches.items():
            folders.append(stored(tmp_path / name, [clouds(10 * i, gap=gap) for i in range(count)]).folder)
        session = Session([Branch(folder=folder) for folder in folders])
        sessions.append(session)
        session.show(*session.branches)
        panel = Points(session)
        panel.settle(20)
        return panel, session

    yield make
    for session in sessions:
        session.close()


def nets_of(frame: np.ndarray) -> list[np.ndarray]:
    return list(frame.reshape(3, -1, 2))


@pytest.mark.parametrize("longer", ["apart", "together"])
def test_branches_are_drawn_apart_where_they_are_whichever_is_longer(of_clouds, longer):
    lengths = {"apart": 2, "together": 2} | {longer: 12}
    panel, session = of_clouds(together=(0.0, lengths["together"]), apart=(1.2, lengths["apart"]))
    together, apart = positions(panel)
    assert (len(together), len(apart)) == (lengths["together"], lengths["apart"])
    assert all(far_apart(nets_of(frame)) > 1 for frame in apart)
    assert all(far_apart(nets_of(frame)) < 0.1 for frame in together)
    session.show("apart", "together")
    panel.settle()
    for frames, before in zip(positions(panel), (apart, together), strict=True):
        np.testing.assert_allclose(frames, before, atol=1e-6)  # in whatever order


def test_a_branch_that_comes_to_be_shown_is_drawn_apart_if_it_is(of_clouds):
    panel, session = of_clouds(together=(0.0, 12), apart=(1.2, 2))
    session.show("together")
    panel.settle()
    session.show("together", "apart")
    panel.settle()
    _, apart = positions(panel)
    assert all(far_apart(nets_of(frame)) > 1 for frame in apart)
    assert not any(told(panel, "warns", 1))


def test_a_frame_that_shows_too_little_warns_and_axes_of_its_own_show_it(of_clouds):
    panel, session = of_clouds(together=(0.0, 12), apart=(1.2, 2))
    panel.plane.change(fit_basis([branch.snapshot(0) for branch in session.compared][:1]))
    panel.refresh({"snapshots"})
    panel.settle()
    assert all(told(panel, "warns", 1))
    assert "nets lie farther apart than is drawn" in told(panel, "note", 1)[0]
    panel.view("pca", own_axes=True)
    panel.settle()
    assert about(panel)["picture"]["own"]
    assert "axes of its own" in about(panel)["picture"]["note"]
    assert not any(told(panel, "warns", 1))
    for branch, frames in zip(session.compared, positions(panel), strict=True):
        for step, frame in zip(branch.steps_seen(), frames, strict=True):
            own = embedding.pca(branch.snapshot(step)).xy
            gaps = (np.linalg.norm(xy[:, None] - xy[None], axis=-1) for xy in (frame, own))
            np.testing.assert_allclose(*gaps, atol=1e-5)  # but for a turn
    assert all(picture.own_axes for picture in panel.result().values())
    panel.view("pca")
    panel.settle()
    assert not about(panel)["picture"]["own"]


def test_class_axes_are_shared_and_come_at_once(of_clouds):
    panel, session = of_clouds(together=(0.0, 4), apart=(1.2, 2))
    panel.view("class_axes")
    panel.settle()
    basis = panel.plane.basis
    assert (about(panel)["picture"]["how"], basis.kind, basis.runs) == ("class_axes", "class_axes", 2)
    for branch, frames in zip(session.compared, positions(panel), strict=True):
        for step, frame in zip(branch.steps_seen(), frames, strict=True):
            np.testing.assert_allclose(frame, embedding.class_axes(branch.snapshot(step), basis).xy, atol=1e-6)
    panel.space("answers")
    panel.settle()
    assert (about(panel)["picture"]["how"], about(panel)["picture"]["of"]) == ("class_axes", "answers")
    assert np.isfinite(positions(panel)[0]).all()
    panel.space("scores")
    panel.settle()
    assert all("no class axes" in words for words in told(panel, "said"))
    panel.view("pca")
    panel.settle()
    assert not any(told(panel, "said"))


def test_points_are_coloured_by_net_unasked(base, ready):
    panel, _ = ready(base)
    assert about(panel)["colouring"]["by"] == "net"
    assert list(about(panel)["colouring"]["ways"])[:2] == ["net", "class"]


def test_a_branch_that_is_renamed_keeps_its_frames(base, ready):
    panel, session = ready(base)
    before = positions(panel)
    branch = session.branches.pop(session.active)
    branch.name = session.active = "renamed"
    session.branches["renamed"], session.shown = branch, ("renamed",)
    session.changed("branches")
    panel.settle()
    assert [branch["name"] for branch in Screen(panel).branches] == ["renamed"]
    np.testing.assert_array_equal(positions(panel), before)


# Work in pieces


def test_work_is_done_in_slices_and_only_the_last_that_waits_comes_after():
    done, asks = [], []

    def work(name: str, count: int = 3, pause: float = 0.0) -> Iterator[None]:
        for piece in range(count):
            time.sleep(pause)
            done.append((name, piece))
            yield

    pieces = Pieces(lambda: asks.append(len(done)))
    pieces.then(work("first", 3, pause=SLICE))
    assert done == [("first", 0)], "it did not look up after a slice"
    assert asks == [1]
    pieces.then(work("second"))
    pieces.then(work("third", 2))
    while pieces.at_hand:
        pieces.go_on()
    assert done == [("first", 0), ("first", 1), ("first", 2), ("third", 0), ("third", 1)]
    pieces.go_on()
    assert len(done) == 5
    assert asks[-1] < 5, "it asked though nothing was left"


# Pairs found


def test_every_frame_says_what_share_of_pairs_is_found_as_the_probe_says(base, ready):
    panel, session = ready(base)
    for step, pairs, by_chance in zip((0, 3, 6, 9, 12), told(panel, "pairs"), told(panel, "by_chance"), strict=True):
        found = pairs_found(session.branch.snapshot(step), neighbours=(1,))
        assert {net: float(share.removesuffix(" %")) for net, share in pairs.items()} == {
            net: round(100 * share, 1) for net, share in found.values.items()
        }
        assert by_chance == f"{round(100 * found.levels['by chance'], 1):g} % (1 of {len(panel.plane.index)})"
    words = f"teacher 0: {pairs['teacher 0']} of pairs found, teacher 1: {pairs['teacher 1']}, by chance {by_chance}"
    assert words in panel.summary()
    (shown,) = panel.result(step=12).values()
    assert shown.note.endswith(f" of the variance; {words}")


def test_pairs_are_those_of_the_space_that_is_drawn(base, ready):
    panel, session = ready(base, of="answers")
    found = pairs_found(film.seen(session.branch.snapshot(12), "answers")[0], neighbours=(1,))
    assert told(panel, "pairs")[-1] == {net: f"{round(100 * v, 1):g} %" for net, v in found.values.items()}
    panel.space("feature/teacher 0/" + next(iter(base.problem.teachers[0].layers)))
    panel.settle()
    assert told(panel, "pairs") == [{}] * 5
    assert "pairs" not in panel.summary()


def test_pairs_in_words():
    frame = {"pairs": {"one": "100 %", "two": "52.3 %"}, "by_chance": "1 % (1 of 100)"}
    assert pairs_in_words(frame) == "one: 100 % of pairs found, two: 52.3 %, by chance 1 % (1 of 100)"
    assert pairs_in_words({"pairs": {}, "by_chance": ""}) == ""
    lost = {name: np.full((9, 3), np.nan) for name in ("common/student", "common/one")}
    snapshot = Snapshot(0, "joint", np.arange(9), None, (("class", "a"),), {"one": (0,)}, lost)
    assert found_in(snapshot, "common") == {"pairs": {"one": "–"}, "by_chance": "–"}


# Colours, answers, images


@pytest.mark.parametrize("by", ["class", "teacher", "error", "agreement"])
def test_colours_are_the_probe_s_own(base, ready, by):
    panel, session = ready(base, by=by)
    tint = [about(panel)["tint"]] if about(panel)["colouring"]["fixed"] else told(panel, "tint")
    for step, numbers in zip((0, 3, 6, 9, 12), tint, strict=False):
        snapshot = session.branch.snapshot(step)
        expected = colour(embedding.pca(snapshot, panel.plane.basis), snapshot, by)
        wanted = expected.value if expected.value is not None else expected.label
        np.testing.assert_allclose(numbers, np.asarray(wanted, np.float32), rtol=1e-6)


def test_entropy_is_a_share_of_its_largest_value(base):
    snapshot = base.snapshot()
    arrays = dict(snapshot.arrays) | {"logits/teacher 0": np.zeros_like(snapshot.arrays["logits/teacher 0"])}
    sure = np.full_like(snapshot.arrays["logits/teacher 1"], -50.0)
    sure[:, 0] = 50.0
    snapshot = replace(snapshot, arrays=arrays | {"logits/teacher 1": sure})
    tint = numbers_of(coloured(snapshot, "entropy", ("student", "teacher 0", "teacher 1"), snapshot.index))
    student, uniform, certain = tint.reshape(3, -1)
    np.testing.assert_allclose(uniform, 1, atol=1e-6)
    np.testing.assert_allclose(certain, 0, atol=1e-6)
    assert ((student > 0) & (student <= 1)).all()


def test_answers_are_the_largest_share_of_each_net(tiny_problem):
    snapshot = trained(tiny_problem(teachers=4, tasks=2)).snapshot()
    rows = [head[:2] for head in heads_of(snapshot)]
    assert [net for net, _ in rows] == ["student", "student", *snapshot.teachers]
    numbers_of_nets = np.concatenate([packed(answers_of(snapshot, student=own)) for own in (True, False)])
    for (net, task), numbers in zip(rows, numbers_of_nets, strict=True):
        columns = [
            i
            for i, (t, _) in enumerate(snapshot.classes)
            if t == task and (net == "student" or i in snapshot.knows[net])
        ]
        logits = snapshot.arrays["scores"][:, columns] if net == "student" else snapshot.arrays[f"logits/{net}"]
        for logit, number in zip(logits.astype(np.float64), numbers, strict=True):
            share = np.exp(logit - logit.max()) / np.exp(logit - logit.max()).sum()
            assert number >> 8 == columns[int(share.argmax())]
            assert abs((number & 255) / 255 - share.max()) < 1 / 255


def test_the_answers_are_one_space_for_every_net(tiny_problem):
    snapshot = trained(tiny_problem(teachers=4, tasks=2, overlap=True)).snapshot()
    arrays = film.seen(snapshot, "answers")[0].group("common")
    assert set(arrays) == {"student", *snapshot.teachers}
    tasks = np.array([task for task, _ in snapshot.classes])
    for task in dict.fromkeys(tasks):
        np.testing.assert_allclose(arrays["student"][:, tasks == task].sum(axis=1), 1, rtol=1e-5)
    for teacher, columns in snapshot.knows.items():
        np.testing.assert_allclose(arrays[teacher][:, list(columns)].sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(arrays[teacher].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_sheet_holds_every_image_where_it_says(blobs, channels):
    from PIL import Image

    images = blobs(11, (channels, 12, 10))
    data, about = sheet_of(images, 40)
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    assert sheet.ndim == (2 if channels == 1 else 3)
    for place, image in enumerate(images):
        y, x = divmod(place, about["columns"])
        cut = sheet[12 * y : 12 * y + 12, 10 * x : 10 * x + 10]
        expected = image[0] if channels == 1 else image[:3].transpose(1, 2, 0)
        np.testing.assert_allclose(cut / 255, expected, atol=0.5 / 255 + 1e-6)


def test_many_large_images_are_sent_one_by_one(base, ready, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(points, "SHEET_BYTES", 100)
    panel, session = ready(base)
    assert panel.sheet == b""
    assert panel.sheet_about["count"] == 60
    sent = []
    panel.send = lambda content, buffers=None: sent.append((content, buffers))
    panel.request(image=7)
    until(lambda: bool(sent))
    (content, (data,)) = sent[0]
    assert content == {"kind": "image", "sample": 7}
    image = np.asarray(session.branch.run.problem.pool.images[session.branch.snapshot(0).index[7:8]])[0]
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(data))) / 255, image.transpose(1, 2, 0), atol=0.003)


# What is odd


def test_a_method_without_a_common_space_shows_the_answers(tiny_problem, ready):
    panel, _ = ready(trained(tiny_problem(teachers=5), method="distillation"))
    assert about(panel)["picture"]["of"] == "answers"
    assert [net["name"] for net in about(panel)["nets"]] == ["student", *(f"teacher {i}" for i in range(5))]
    assert np.isfinite(positions(panel)[0]).all()
    assert "common" not in [space["name"] for space in about(panel)["picture"]["spaces"]]


def small_student(labels: LabelSpace) -> Student:
    """A student whose maps are no larger than any teacher's."""
    segments = {
        "conv1": nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6)),
        "conv2": nn.Sequential(nn.ReLU(), nn.Conv2d(6, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8)),
        "features": nn.ReLU(),
    }
    columns = len(labels.columns)
    return Student.chain(
        segments, {t: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, columns)) for t in labels.tasks}
    )


def test_stages_without_the_space_say_so(tiny_problem, ready):
    run = Run(tiny_problem(student=small_student), "layer_wise", snapshot_every=1, steps=12)
    run.advance(run.boundaries[3], progress=False)
    panel, session = ready(run)
    code = next(s["name"] for s in about(panel)["picture"]["spaces"] if s["name"].startswith("code/"))
    panel.space(code)
    panel.settle()
    said = told(panel, "said")
    for step, words, xy in zip(told(panel, "step"), said, positions(panel)[0], strict=True):
        there = code in session.branch.snapshot(step).arrays
        assert bool(words) != there
        assert np.isfinite(xy).any() == there
    assert any(said)
    assert not all(said)
    assert "Choose another space" in next(filter(None, said))


def test_nan_rows_one_sample_and_no_labels_are_survived(tiny_problem, base, ready):
    panel, _ = ready(trained(tiny_problem(probe=1, labels=False)))
    assert about(panel)["colouring"]["by"] == "net"
    assert len(positions(panel)[0][0]) == 3

    spoiled = broken(base.snapshot())
    plane = Plane("common")
    plane.bases, plane.index, plane.nets = {"pca": fit_basis(spoiled)}, spoiled.index, film.nets_in(spoiled, "common")
    frame = plane.frame(spoiled)
    assert np.isfinite(frame["xy"]).all()
    answers = packed(answers_of(spoiled, student=True))
    assert (answers[:, :5] == -1).all()
    assert (answers[:, 5:] >= 0).all()
    for by in ("error", "entropy", "agreement", "teacher"):
        assert coloured(spoiled, by, film.nets_in(spoiled, "common"), spoiled.index) is not None


def broken(snapshot: Snapshot) -> Snapshot:
    """The first five rows of all arrays are NaN."""
    arrays = {name: np.array(array, np.float64) for name, array in snapshot.arrays.items()}
    for array in arrays.values():
        array[:5] = np.nan
    return replace(snapshot, arrays=arrays)


def test_a_colour_that_the_stage_has_not_is_said(tiny_problem, ready):
    panel, _ = ready(trained(tiny_problem(), method="distillation"), by="error")
    assert about(panel)["colouring"]["kind"] == "net"
    assert "reconstruction error" in about(panel)["colouring"]["said"]


def test_unknown_names_are_refused_in_the_cell_that_asks(base, ready):
    panel, _ = ready(base)
    with pytest.raises(InputError, match="pca"):
        panel.view("mds")
    with pytest.raises(InputError, match="entropy"):
        panel.colour("mood")
    with pytest.raises(InputError, match="answers"):
        panel.space("nowhere")


def test_the_selection_is_a_trait(base, ready):
    panel, session = ready(base)
    session.select([5, 3, 5])
    until(lambda: len(panel.selected) == 8)
    np.testing.assert_array_equal(np.frombuffer(panel.selected, np.int32), [3, 5])


def test_other_colours_are_sent_without_positions(base, ready):
    panel, session = ready(base)
    screen, before = Screen(panel), panel.film
    panel.colour("error")
    panel.settle()
    assert panel.film == before
    assert screen.about["colouring"]["by"] == "error"
    late = Screen(panel)
    assert late.about["colouring"] == screen.about["colouring"]
    for step, frame in late.frames().items():
        np.testing.assert_array_equal(frame["tint"], screen.frames()[step]["tint"])
        np.testing.assert_array_equal(frame["xy"], screen.frames()[step]["xy"])
        expected = colour(embedding.pca(session.branch.snapshot(step)), session.branch.snapshot(step), "error")
        np.testing.assert_allclose(frame["tint"], expected.value, rtol=1e-6)
    assert not screen.lost


def test_two_panels_of_a_session_are_asked_one_by_one(base, ready):
    panel, session = ready(base)
    other = Points(session)
    other.colour("class")
    other.settle()
    assert (about(panel)["colouring"]["by"], about(other)["colouring"]["by"]) == ("net", "class")


def test_a_picture_for_paper_is_what_the_panel_shows(base, ready):
    panel, session = ready(base, by="class")
    (shown,) = panel.result(step=6).values()
    expected = colour(embedding.pca(session.branch.snapshot(6), panel.plane.basis), session.branch.snapshot(6))
    np.testing.assert_allclose(shown.xy, expected.xy, atol=1e-6)
    np.testing.assert_array_equal(shown.label, expected.label)
    assert shown.labels == expected.labels
    assert "5 frames" in panel.summary()
    assert panel.drawable


# t-SNE and UMAP in the background


@pytest.mark.slow
@pytest.mark.parametrize("how", [how for how in ways.COSTS if how not in KINDS])
def test_a_film_is_made_in_the_background_and_swapped_in(how, base, ready, tmp_path, monkeypatch):
    if how != "tsne":
        pytest.importorskip("umap", reason="umap-learn is not installed: pip install umap-learn")
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))  # where no film is kept yet
    panel, session = ready(base)
    jobs = []
    panel.observe(lambda change: jobs.append(change["new"]), "job")
    panel.view(how)
    panel.settle(400)  # UMAP is compiled first
    assert about(panel)["picture"]["how"] == how
    assert panel.trouble == ""
    assert jobs[-1] == {}
    assert jobs[0]["name"] == ways.NAMES[how]
    assert jobs[0]["announced"] > 0
    assert told(panel, "step") == [0, 3, 6, 9, 12]
    assert "mean little" in told(panel, "note")[-1]
    found = embed([session.branch.snapshot(step) for step in (0, 3, 6, 9, 12)], how).result()  # kept on disk
    np.testing.assert_allclose(positions(panel)[0][-1], found[-1].xy, atol=1e-3)
    panel.view("pca")
    panel.settle()
    assert about(panel)["picture"]["how"] == "pca"
    assert threading.active_count() < 50


@pytest.mark.slow
def test_cancelling_leaves_the_picture_as_it_was(base, ready, tmp_path, monkeypatch):
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))
    panel, _session = ready(base)
    before = panel.film
    panel.view("tsne")
    until(lambda: bool(panel.job))
    panel.request(cancel=True)
    panel.settle()
    assert (about(panel)["picture"]["how"], panel.job, panel.film) == ("pca", {}, before)


def test_branches_and_step_that_change_together_are_both_seen(ready, base):
    panel, session = ready(base)
    session.branches["other"] = Branch(base.fork("together", at=6))
    session.shown = (*session.shown, "other")
    session.look_at(3.0)
    panel.refresh(frozenset({"branches", "viewed_step"}))
    assert len(Screen(panel).branches) == 2
