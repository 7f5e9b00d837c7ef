"""The points panel in Chromium: it scrubs, zooms and hovers by itself, and Python reads what is selected."""

import io
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ka_explore import Problem, Run
from ka_explore.panels.branch import Branch
from ka_explore.panels.pairs import pairs_in_words
from ka_explore.panels.points import Points
from ka_explore.panels.session import Session
from ka_explore.probes.alignment import pairs_found
from ka_explore.probes.fitting import fit_basis
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store
from tests.panels.conftest import Screen
from tests.shared.clouds import clouds, far_apart, stored

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("points")]

PANEL = ".ka-points"
OVER = ".ka-points-over"


@pytest.fixture
def made(tiny_problem: Callable[..., Problem], tmp_path: Path) -> Callable[..., Branch]:
    """A folder with made-up snapshots of as many images as wanted, seen by a student and two teachers."""

    def make(count: int, name: str = "made", steps: tuple[int, ...] = (0, 10, 20, 30)) -> Branch:
        store = Run(tiny_problem(), steps=0, name=name, folder=tmp_path / name).store
        shutil.rmtree(store.folder / "snapshots", ignore_errors=True)
        (store.folder / "snapshots").mkdir()
        random = np.random.default_rng(0)
        label, teachers = random.integers(0, 4, count), ("teacher 0", "teacher 1")
        classes = tuple(("class", f"class {i}") for i in range(4))
        centre, logits = 3 * random.normal(size=(4, 6)), random.normal(size=(count, 4)).astype(np.float32)
        noise = {net: random.normal(size=(count, 6)) for net in ("student", *teachers)}
        for step in steps:
            arrays = {
                f"common/{net}": (centre[label] + (1.3 - step / steps[-1]) * own).astype(np.float32)
                for net, own in noise.items()
            }
            arrays |= {f"logits/{net}": logits for net in noise} | {"scores": logits}
            knows = dict.fromkeys(teachers, (0, 1, 2, 3))
            Store(store.folder).save_snapshot(
                Snapshot(step, "joint", np.arange(count), {"class": label}, classes, knows, arrays)
            )
        return Branch(folder=store.folder)

    return make


@pytest.fixture
def desk_of() -> Iterator[Callable[..., tuple[Session, Points]]]:
    """A session of branches with a points panel that has all its frames; closed in the end."""
    sessions = []

    def make(*branches: Any, **options: Any) -> tuple[Session, Points]:
        session = Session(list(branches))
        sessions.append(session)
        session.show(*session.branches)
        panel = Points(session, **options)
        panel.settle(20)
        return session, panel

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def run(tiny_problem: Callable[..., Problem]) -> Run:
    made = Run(tiny_problem(shape=(1, 16, 16)), steps=24, batch_size=16, snapshot_every=4)
    return made.advance(12, progress=False)


@pytest.fixture
def shown(desk_of, bridge, run):
    """A session, its panel, and its page; in the end nothing went the wrong way and the console is empty."""
    session, panel = desk_of(Branch(run))
    page = bridge(session, panel)
    ready(page)
    yield session, panel, page
    assert page.console == []
    assert page.page.evaluate("window.wrongWay ?? 0") == 0


def ready(bridge: Any) -> None:
    bridge.page.wait_for_function("document.querySelector('.ka-points').dataset.painted > 0")
    bridge.page.locator(".ka-points-time").wait_for(state="visible")
    still(bridge)


def still(bridge: Any) -> None:
    """Until nothing glides."""
    bridge.pump(0.1)
    bridge.page.wait_for_function("!document.querySelector('.ka-points').inspect().gliding")
    bridge.page.wait_for_timeout(60)


def inspect(bridge: Any, branch: int = 0) -> dict[str, Any]:
    return bridge.page.evaluate("branch => document.querySelector('.ka-points').inspect(branch)", branch)


def data(bridge: Any, name: str) -> float:
    return float(bridge.page.locator(PANEL).get_attribute(f"data-{name}"))


def look_at(bridge: Any, step: float, moving: bool = True) -> None:
    """What a player's timeline does."""
    bridge.page.evaluate(
        "([step, moving]) => { const session = [...globalThis[Symbol.for('ka_explore.sessions')].values()].at(-1);"
        " session.emit('time', {step, by: 'player', moving}); }",
        [step, moving],
    )
    bridge.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def asked(bridge: Any) -> list[dict[str, Any]]:
    """Messages to Python but greetings."""
    return [message for message in bridge.messages if message["do"] != "hello"]


def frames(panel: Points) -> np.ndarray:
    return np.array([frame["xy"] for frame in Screen(panel).branches[0]["frames"]])


def pixels(bridge: Any, branch: int = 0) -> np.ndarray:
    """Where every point is on the page: (net, sample, 2)."""
    found = inspect(bridge, branch)
    box = bridge.page.locator(OVER).nth(branch).bounding_box()
    return np.array(found["pixels"]).reshape(-1, found["samples"], 2) + np.array([box["x"], box["y"]])


def lasso(bridge: Any, polygon: np.ndarray, **keys: bool) -> None:
    """Drag along the corners of a polygon on the page."""
    mouse, keyboard = bridge.page.mouse, bridge.page.keyboard
    for key in keys:
        keyboard.down(key)
    mouse.move(*polygon[0])
    mouse.down()
    for corner in polygon[1:]:
        mouse.move(*corner)
    mouse.up()
    for key in keys:
        keyboard.up(key)
    bridge.pump(0.3)


def within(places: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """The slow reference: the even-odd rule, a ray to the right from every place."""
    found = np.zeros(len(places), bool)
    for i, (x, y) in enumerate(places):
        crossings = 0
        for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if min(ay, by) <= y < max(ay, by) and ax + (y - ay) / (by - ay) * (bx - ax) > x:
                crossings += 1
        found[i] = crossings % 2
    return found


# Time


def test_scrubbing_paints_every_frame_and_asks_nobody(shown):
    _, _, bridge = shown
    before, painted = len(asked(bridge)), data(bridge, "painted")
    seen = set()
    for step in np.linspace(0, 12, 30):
        look_at(bridge, float(step))
        seen.add((data(bridge, "step"), data(bridge, "frame")))
    assert data(bridge, "painted") - painted >= 30
    assert len(seen) == 30
    assert len(asked(bridge)) == before
    assert {frame for _, frame in seen} == {0, 1, 2, 3}


def test_half_way_between_two_frames_is_their_mean(shown):
    _, panel, bridge = shown
    stored = frames(panel)
    for step, expected in ((0, stored[0]), (2, (stored[0] + stored[1]) / 2), (7, 0.25 * stored[1] + 0.75 * stored[2])):
        look_at(bridge, step)
        np.testing.assert_allclose(np.reshape(inspect(bridge)["plane"], (-1, 2)), expected, atol=1e-5)
    look_at(bridge, 99)  # beyond what is seen: the last frame
    np.testing.assert_allclose(np.reshape(inspect(bridge)["plane"], (-1, 2)), stored[-1], atol=1e-5)


def test_the_caption_says_what_share_of_pairs_is_found_in_python_s_words(desk_of, bridge, made):
    session, panel = desk_of(made(50))
    page = bridge(session, panel)
    ready(page)
    note, said = page.page.locator(".ka-points-note"), set()
    for frame in Screen(panel).branches[0]["frames"]:
        look_at(page, frame["step"])
        assert note.inner_text().startswith(pairs_in_words(frame) + " · PCA keeps")
        found = pairs_found(session.branch.snapshot(frame["step"]), neighbours=(1,))
        assert [f"{round(100 * share, 1):g} %" for share in found.values.values()] == list(frame["pairs"].values())
        said.add(note.inner_text().partition(" · ")[0])
    assert len(said) > 2
    panel.space("answers")
    panel.settle()
    still(page)
    assert " of pairs found in the answers (shares of the classes), teacher 1: " in note.inner_text()
    assert page.console == []


def test_a_slider_of_its_own_only_where_no_player_is(shown):
    _, _, bridge = shown
    row = bridge.page.locator(".ka-points-time")
    row.wait_for(state="visible")
    bridge.page.locator(OVER).focus()
    bridge.page.keyboard.press("ArrowLeft")
    still(bridge)
    assert data(bridge, "step") == 8
    assert asked(bridge)[-1] == {"do": "look", "step": 8, "number": asked(bridge)[-1]["number"]}
    bridge.page.locator(".ka-points-time input").fill("4")
    still(bridge)
    assert data(bridge, "step") == 4
    bridge.page.evaluate(
        "() => [...globalThis[Symbol.for('ka_explore.sessions')].values()].at(-1).emit('status', {doing: ''})"
    )
    assert not row.is_visible()


def test_a_frame_that_comes_while_it_plays_is_glided_to(shown, monkeypatch):
    session, panel, bridge = shown
    start = np.array(inspect(bridge)["plane"])
    monkeypatch.setattr(Session, "busy", True)
    session.branch.run.advance(4, progress=False)
    panel.refresh({"snapshots"})
    bridge.pump(0.0)
    assert [kind for kind, *_ in bridge.pending] == []
    still(bridge)
    end = np.array(inspect(bridge)["plane"])
    assert data(bridge, "step") == 16
    assert not np.allclose(start, end)
    expected = panel.frame_at(session.branch, 16)["xy"]
    np.testing.assert_allclose(end.reshape(-1, 2), expected, atol=1e-5)
    monkeypatch.setattr(Session, "busy", False)


def test_other_axes_are_glided_to(shown):
    _, panel, bridge = shown
    start = np.array(inspect(bridge)["plane"])
    bridge.page.evaluate(
        "() => { const p = document.querySelector('.ka-points'); window.between = [];"
        " const painted = new MutationObserver(() => window.between.push(p.inspect().plane));"
        " painted.observe(p, {attributeFilter: ['data-painted']}); }"
    )
    basis = panel.plane.basis
    panel.plane.change(replace(basis, axes=basis.axes[::-1]))
    panel.refresh({"snapshots"})
    panel.settle()
    bridge.pump(0.6)
    still(bridge)
    end = np.array(inspect(bridge)["plane"])
    np.testing.assert_allclose(end.reshape(-1, 2), start.reshape(-1, 2)[:, ::-1], atol=1e-5)
    between = [np.array(plane) for plane in bridge.page.evaluate("window.between")]
    shares = [float(np.abs(plane - start).mean() / np.abs(end - start).mean()) for plane in between]
    assert sum(0.05 < share < 0.95 for share in shares) >= 2, shares


# Axes and colours


def test_c_colours_by_net_and_by_class(shown):
    _, panel, bridge = shown
    legend, colour = bridge.page.locator(".ka-points-legend"), bridge.page.locator(".ka-points-bar select").nth(1)
    assert colour.input_value() == "net"
    bridge.page.locator(OVER).focus()
    for key, by in (("c", "class"), ("C", "net"), ("c", "class")):
        bridge.page.keyboard.press(key)
        panel.settle()
        still(bridge)
        assert Screen(panel).about["colouring"]["by"] == colour.input_value() == by
        assert ("class 0" in legend.inner_text()) == (by == "class")
    assert "C: net or class" in colour.get_attribute("aria-label")


def test_a_picture_that_shows_too_little_says_so_and_own_axes_are_a_click_away(desk_of, bridge, tmp_path):
    folders = [
        stored(tmp_path / name, [clouds(10 * i, gap=gap) for i in range(4)]).folder
        for name, gap in (("together", 0.0), ("apart", 1.2))
    ]
    session, panel = desk_of(*(Branch(folder=folder) for folder in folders))
    panel.plane.change(fit_basis(session.compared[0].snapshot(0)))  # of the first alone, as it was once
    panel.refresh({"snapshots"})
    panel.settle()
    page = bridge(session, panel)
    ready(page)
    warned = page.page.locator(".ka-points-warned")
    assert [warned.nth(i).is_visible() for i in range(2)] == [False, True]
    assert "nets lie farther apart than is drawn" in warned.nth(1).inner_text()
    assert far_apart(drawn_in(page, 1)) < 0.1
    more = page.page.locator(".ka-points-more")
    if more.is_visible():
        more.click()
    page.page.get_by_role("button", name="own axes").click()
    panel.settle()
    still(page)
    assert [warned.nth(i).is_visible() for i in range(2)] == [False, False]
    assert [far_apart(drawn_in(page, i)) > 1 for i in range(2)] == [False, True]
    assert "each picture on axes of its own" in page.page.locator(".ka-points-note").inner_text()
    page.page.get_by_role("button", name="own axes").click()
    page.page.locator("select").first.select_option("class_axes")
    panel.settle()
    still(page)
    assert Screen(panel).about["picture"] | {"how": "class_axes", "own": False} == Screen(panel).about["picture"]
    assert page.console == []


def drawn_in(bridge: Any, branch: int) -> list[np.ndarray]:
    """Where each net's points are on the page."""
    return list(pixels(bridge, branch))


# Selecting and hovering


def test_a_lasso_selects_exactly_what_lies_inside(desk_of, bridge, made):
    session, panel = desk_of(made(150))
    bridge = bridge(session, panel)
    ready(bridge)
    places = pixels(bridge)
    middle = np.median(places[1], axis=0)
    reach = 1.6 * np.median(np.linalg.norm(places[1] - middle, axis=1))
    turns = np.array([0, 2, 4, 1, 3]) * 2 * np.pi / 5  # a star that crosses itself: its middle is outside
    star = middle + reach * np.stack([np.sin(turns), np.cos(turns)], axis=1)
    hook = middle + reach * np.array([[-1, -1], [1.2, -0.6], [0.2, 0.1], [1, 1], [-1.1, 0.8]])
    box = bridge.page.locator(OVER).bounding_box()
    inner = [box["x"] + 2, box["y"] + 2], [box["x"] + box["width"] - 2, box["y"] + box["height"] - 2]
    for polygon in (star.clip(*inner).round(), hook.clip(*inner).round()):
        lasso(bridge, polygon)
        expected = np.flatnonzero(np.any([within(net, polygon) for net in places], axis=0))
        assert 0 < len(expected) < places.shape[1]
        np.testing.assert_array_equal(session.selection, expected)
        assert inspect(bridge)["selection"] == expected.tolist()


def test_a_lasso_that_ends_before_other_branches_are_drawn_selects_nothing(desk_of, bridge, made):
    session, panel = desk_of(made(150), made(150, "other"))
    session.show("made")
    panel.settle()
    bridge = bridge(session, panel)
    ready(bridge)
    session.select([3])
    bridge.pump(0.3)
    page, places = bridge.page, pixels(bridge)
    (left, top), (right, bottom) = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y)
    page.evaluate(  # from here on what waits for a picture's turn gets it when told
        "() => { window.later = []; window.frame = window.requestAnimationFrame;"
        " window.requestAnimationFrame = callback => window.later.push(callback); }"
    )
    session.show("other")
    panel.settle()
    bridge.pump(0.5)
    page.mouse.up()
    page.evaluate(
        "() => { window.requestAnimationFrame = window.frame; for (const each of window.later) window.frame(each); }"
    )
    still(bridge)
    assert session.selection.tolist() == [3]
    assert bridge.console == []
    lasso(bridge, np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    assert len(session.selection) > 100


def test_a_lasso_in_a_picture_that_goes_is_forgotten(desk_of, bridge, made):
    session, panel = desk_of(made(150), made(150, "other"))
    bridge = bridge(session, panel)
    ready(bridge)
    page, places = bridge.page, pixels(bridge, branch=1)
    x, y = places[0].mean(axis=0)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 20)
    session.show("made")
    panel.settle()
    still(bridge)
    page.wait_for_function("document.querySelectorAll('.ka-points-over').length === 1")
    page.mouse.up()
    still(bridge)
    page.mouse.move(*pixels(bridge)[0, 0])
    page.locator(".ka-points-tip").wait_for(state="visible", timeout=3000)
    assert len(session.selection) == 0
    assert bridge.console == []


def test_shift_adds_ctrl_removes_escape_clears(shown):
    session, _, bridge = shown
    places = pixels(bridge).reshape(-1, 2)
    (left, top), (right, bottom) = places.min(axis=0) - 9, places.max(axis=0) + 9
    x = float(np.median(places[:, 0]).round())
    first = np.array([[left, top], [x, top], [x, bottom], [left, bottom]]).round()
    rest = np.array([[x, top], [right, top], [right, bottom], [x, bottom]]).round()
    lasso(bridge, first)
    one = set(session.selection.tolist())
    lasso(bridge, rest, Shift=True)
    assert set(session.selection.tolist()) == set(range(60))
    lasso(bridge, first, Control=True)
    assert set(session.selection.tolist()) == set(range(60)) - one
    bridge.page.keyboard.press("Escape")
    bridge.pump(0.3)
    assert len(session.selection) == 0


def test_a_click_selects_and_python_s_selection_is_drawn(shown):
    session, _, bridge = shown
    places = pixels(bridge)
    away = np.linalg.norm(places.reshape(-1, 1, 2) - places.reshape(1, -1, 2), axis=-1) + 1e9 * np.eye(
        places[..., 0].size
    )
    lonely = int(away.min(axis=1).argmax())
    bridge.page.mouse.click(*places.reshape(-1, 2)[lonely])
    bridge.pump(0.3)
    assert session.selection.tolist() == [lonely % 60]
    session.select([3, 4])
    bridge.pump(0.3)
    assert inspect(bridge)["selection"] == [3, 4]


def test_the_tip_says_what_every_net_says(shown):
    session, _, bridge = shown
    places = pixels(bridge)[0]
    sample = int(np.linalg.norm(places - places.mean(axis=0), axis=1).argmax())
    bridge.page.mouse.move(*places[sample])
    tip = bridge.page.locator(".ka-points-tip")
    tip.wait_for(state="visible")
    sample = inspect(bridge)["hovered"]
    snapshot = session.branch.snapshot(12)
    text = tip.inner_text()
    assert f"image {snapshot.index[sample]}" in text
    assert snapshot.classes[snapshot.labels["class"][sample]][1] in text
    said = [re.split(r"\t+", line.strip()) for line in text.splitlines() if "%" in line]
    assert [line[0] for line in said] == ["student", "teacher 0", "teacher 1"]
    for net, answer, share in said:
        logits = snapshot.arrays["scores" if net == "student" else f"logits/{net}"][sample].astype(float)
        softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        column = int(softmax.argmax()) if net == "student" else snapshot.knows[net][int(softmax.argmax())]
        assert answer == snapshot.classes[column][1]
        assert abs(float(share.rstrip(" %")) / 100 - softmax.max()) < 0.011
    shown_image = np.array(
        bridge.page.evaluate(
            "() => { const c = document.querySelector('.ka-points-tip canvas');"
            " const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
            " return [...data].filter((_, i) => i % 4 === 0); }"
        )
    )
    image = np.asarray(session.branch.run.problem.pool.images[snapshot.index[[sample]]])[0, 0]
    np.testing.assert_allclose(shown_image.reshape(16, 16) / 255, image, atol=0.01)
    assert asked(bridge) == []


def test_hidden_nets_are_neither_drawn_nor_selected(shown):
    session, _, bridge = shown
    assert data(bridge, "points") == 180
    for name in ("student", "teacher 1"):
        bridge.page.locator(".ka-points-legend button", has_text=name).click()
    still(bridge)
    assert data(bridge, "points") == 60
    places = pixels(bridge)
    polygon = np.median(places[1], axis=0) + np.array([[-60, -50], [40, -50], [40, 60], [-60, 60]])
    lasso(bridge, polygon.round())
    np.testing.assert_array_equal(session.selection, np.flatnonzero(within(places[1], polygon.round())))


# The screen


def test_zoom_keeps_what_is_under_the_pointer_and_zero_shows_everything(shown):
    _, _, bridge = shown
    before = pixels(bridge)
    box = bridge.page.locator(OVER).bounding_box()
    at = np.array([box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"]]).round()
    bridge.page.mouse.move(*at)
    bridge.page.mouse.wheel(0, -200)  # scrolls the notebook: the picture was not clicked yet
    bridge.page.wait_for_timeout(100)
    assert np.array_equal(pixels(bridge), before, equal_nan=True)
    bridge.page.locator(OVER).focus()
    bridge.page.mouse.wheel(0, -200)
    still(bridge)
    after, zoom = pixels(bridge), inspect(bridge)["zoom"]
    assert zoom > 1.2
    np.testing.assert_allclose(after, at + zoom * (before - at), atol=0.01)
    bridge.page.mouse.down(button="middle")
    bridge.page.mouse.move(at[0] + 30, at[1] - 20)
    bridge.page.mouse.up(button="middle")
    still(bridge)
    np.testing.assert_allclose(pixels(bridge), after + np.array([30, -20]), atol=0.01)
    bridge.page.keyboard.press("0")
    still(bridge)
    np.testing.assert_allclose(pixels(bridge), before, atol=0.01)


def test_full_size_fills_the_window_and_escape_leaves(shown):
    _, _, bridge = shown
    bridge.page.locator(OVER).focus()
    bridge.page.keyboard.press("f")
    still(bridge)
    box = bridge.page.locator(PANEL).bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 1280, 800)
    bridge.page.keyboard.press("Escape")
    still(bridge)
    assert bridge.page.locator(PANEL).bounding_box()["height"] < 500
    assert bridge.page.locator(".ka-points-full-cell").count() == 0


def test_pictures_are_saved_by_the_browser(shown):
    from PIL import Image

    _, _, bridge = shown
    more = bridge.page.locator(".ka-points-more")
    if more.is_visible():
        more.click()
    saved = {}
    for kind in ("svg", "png"):
        with bridge.page.expect_download() as download:
            bridge.page.select_option(".ka-points-save", kind)
        assert download.value.suggested_filename == f"points-pca-step-12.{kind}"
        saved[kind] = Path(download.value.path()).read_bytes()
    svg = saved["svg"].decode()
    circles = sum(len(re.findall("a", path)) for path in re.findall(r' d="(M[^"L]*)" fill="rgb[^>]*width=".7"', svg))
    assert circles == 2 * 60, "an arc is missing: one student's point is two arcs"
    assert "teacher 1" in svg
    assert "of the variance" in svg
    picture = np.asarray(Image.open(io.BytesIO(saved["png"])).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(picture, axis=0)) > 50
    assert asked(bridge) == []


def test_a_saved_picture_has_the_lines_that_are_seen(shown):
    _, _, bridge = shown
    more = bridge.page.locator(".ka-points-more")
    if more.is_visible():
        more.click()
    bridge.page.locator(".ka-points-bar select").nth(2).select_option("1")

    def lines() -> int:
        still(bridge)
        with bridge.page.expect_download() as download:
            bridge.page.select_option(".ka-points-save", "svg")
        svg = Path(download.value.path()).read_text()
        return sum(path.count("L") for path in re.findall(r' d="(M[^"]*)" stroke="[^"]*" stroke-opacity', svg))

    assert lines() == 2 * 60, "from every image's student to both teachers"
    legend = bridge.page.locator(".ka-points-legend")
    legend.get_by_role("button", name="teacher 1").click()
    assert lines() == 60
    legend.get_by_role("button", name="student").click()
    assert lines() == 0


def test_dark_and_small_and_no_picture(desk_of, bridge, run):
    session, panel = desk_of(Branch(run))
    page = bridge(session, panel, dark=True)
    ready(page)
    assert "ka-dark" in page.page.locator(PANEL).get_attribute("class")
    cell = "document.querySelector('.ka-points').parentElement"
    for width, height in ((320, 220), (520, 300), (1250, 700)):
        page.page.evaluate(
            f"([w, h]) => {{ {cell}.style.width = w + 'px'; {cell}.style.height = h + 'px'; }}", [width, height]
        )
        still(page)
        outer, inner = page.page.locator(PANEL).bounding_box(), page.page.locator(OVER).bounding_box()
        assert inner["width"] > 0.5 * width
        assert inner["height"] > 0.2 * height
        assert outer["x"] <= inner["x"]
        assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
    assert page.console == []


def test_three_branches_share_lens_time_and_selection(desk_of, bridge, made):
    session, panel = desk_of(*(made(50, name) for name in ("base", "a fork with a rather long name", "alone")))
    page = bridge(session, panel)
    ready(page)
    titles = page.page.locator(".ka-points-title b").all_inner_texts()
    assert titles == ["base", "a fork with a rather long name", "alone"]
    look_at(page, 15)
    views = [inspect(page, place) for place in range(3)]
    assert views[0]["plane"] == views[2]["plane"]
    pairs = [branch["frames"][2]["pairs"] for branch in Screen(panel).branches]
    first, second = (" / ".join(each[f"teacher {i}"] for each in pairs) for i in range(2))
    caption = f"teacher 0: {first} of pairs found, teacher 1: {second}, by chance 2 % (1 of 50) · PCA keeps"
    assert page.page.locator(".ka-points-note").inner_text().startswith(caption)
    page.page.locator(OVER).nth(1).focus()
    page.page.keyboard.press("+")
    still(page)
    assert len({inspect(page, place)["zoom"] for place in range(3)}) == 1
    assert page.console == []


def test_of_very_many_points_a_stated_part_is_drawn_while_it_moves(desk_of, bridge, made):
    session, panel = desk_of(made(12_000))
    page = bridge(session, panel)
    ready(page)
    page.page.wait_for_timeout(400)
    assert data(page, "points") == 36_000
    look_at(page, 15)
    assert 19_000 < data(page, "points") <= 20_001
    assert "of 36 000 points while it moves" in page.page.locator(".ka-points-note").inner_text()
    look_at(page, 15, moving=False)
    deadline = time.monotonic() + 5
    while data(page, "points") != 36_000:
        assert time.monotonic() < deadline, "it never drew all points again"
        page.page.wait_for_timeout(50)
    assert "while it moves" not in page.page.locator(".ka-points-note").inner_text()
    assert page.console == []


def test_a_job_is_shown_and_can_be_cancelled(shown):
    _, panel, bridge = shown
    bridge.page.locator("select").first.select_option("tsne")
    job = bridge.page.locator(".ka-points-job")
    deadline = time.monotonic() + 10
    while not job.is_visible():
        assert time.monotonic() < deadline
        bridge.pump(0.05)
    assert re.match(r"t-SNE \d+ % of about", job.inner_text())
    job.locator("button").click()
    bridge.pump(0.5)
    assert not job.is_visible()
    assert Screen(panel).about["picture"]["how"] == "pca"
    assert bridge.page.locator("select").first.input_value() == "pca"


def test_two_views_of_a_panel_and_its_end_leave_nothing_behind(shown):
    session, panel, bridge = shown
    bridge.add(panel, "again")
    bridge.pump(0.5)
    assert bridge.page.locator(PANEL).count() == 2
    bridge.page.evaluate("removePanel('again')")
    session.select([1, 2])
    bridge.pump(0.3)
    assert inspect(bridge)["selection"] == [1, 2]
