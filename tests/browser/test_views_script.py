"""History, tables and samples in Chromium: every number can be read, and scrubbing asks the kernel for nothing."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ka_explore
from ka_explore import Run
from ka_explore.panels.branch import Branch
from ka_explore.panels.history import History
from ka_explore.panels.samples import Samples
from ka_explore.panels.session import Session
from ka_explore.panels.tables import Tables
from ka_explore.probes import PROBES
from tests.panels.conftest import Screen

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("views")]


@pytest.fixture(scope="module")
def runs(tiny_problem) -> list[Run]:
    """A run of 40 steps, a snapshot every tenth, and a fork at step 20."""
    base = Run(tiny_problem(), form="clouds", steps=40, snapshot_every=10, batch_size=16, name="base")
    base.advance(None, progress=False)
    return [base, base.fork("no MMD", at=20, mmd_weight=0.0).advance(None, progress=False)]


@pytest.fixture
def session(runs) -> Iterator[Session]:
    session = Session([Branch(run) for run in runs])
    yield session
    error = session.error
    session.close()
    assert error == ""


def settled(page: Any, condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Hand the page what Python changed until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        page.pump(0.05)
    page.pump(0.1)


def look_at(page: Any, step: int) -> None:
    """As if the timeline were dragged there; by the page's own clock, until numbers that change now and then did."""
    page.page.evaluate(
        "step => { for (const session of globalThis[Symbol.for('ka_explore.sessions')].values())"
        " session.emit('time', {step, by: 'test', moving: true});"
        " return new Promise(done => setTimeout(done, 150)); }",
        step,
    )
    page.pump(0.05)


def values(page: Any, selector: str) -> list[float]:
    """The numbers that elements carry."""
    found = page.page.eval_on_selector_all(selector, "all => all.map(one => one.dataset.value)")
    return [float(value) for value in found]


def newest(page: Any) -> int:
    """The step of the first row of numbers that is shown; the page takes its time."""
    return int(page.page.locator("td[data-step]").first.get_attribute("data-step"))


def asked(page: Any) -> list[dict[str, Any]]:
    """What came to Python, but for greetings."""
    return [message for message in page.messages if message["do"] != "hello"]


def clean(page: Any) -> None:
    """No error in the console, and nothing sent where nothing may be."""
    assert page.console == []
    assert page.page.evaluate("window.wrongWay || 0") == 0


# The history


def test_hovering_tells_the_numbers_of_the_row(bridge, session):
    session.show("base", "no MMD")
    page = bridge(session, History(session))
    page.pump(0.2)
    box = page.page.locator(".ka-history-over").bounding_box()
    for share in (0.3, 0.55, 0.9):
        page.page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.pump(0.1)
        for row in page.page.locator(".ka-history-legend tbody tr").all():
            term = row.locator("button").get_attribute("data-term")
            for branch, cell in zip(session.compared, row.locator("td").all(), strict=True):
                step = int(cell.get_attribute("data-step"))
                recorded = branch.rows[step - 1]
                assert recorded["step"] == step
                expected = recorded["loss"] if term == "loss" else recorded["terms"][term]
                assert float(cell.get_attribute("data-value")) == pytest.approx(expected, rel=1e-6)
                assert float(cell.text_content()) == pytest.approx(expected, rel=1e-3)
    assert asked(page) == []
    clean(page)


def test_dragging_in_the_history_moves_the_time_and_places_the_views(bridge, session):
    page = bridge(session, History(session))
    page.pump(0.2)
    page.page.evaluate(
        "() => { window.times = []; for (const session of globalThis[Symbol.for('ka_explore.sessions')].values())"
        " session.on('time', time => window.times.push(time)); }"
    )
    box = page.page.locator(".ka-history-over").bounding_box()
    page.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 60, steps=5)
    assert asked(page) == [], "while it is dragged the kernel is asked for nothing"
    page.page.mouse.up()
    page.pump(0.2)
    times = page.page.evaluate("window.times")
    assert [time["moving"] for time in times][-1] is False
    assert all(time["moving"] and time["by"] == "history" for time in times[:-1])
    assert [(m["do"], m["step"]) for m in asked(page)] == [("look", times[-1]["step"])]
    assert session.viewed_step == times[-1]["step"]
    assert session.branch.step == 40, "looking is not rewinding"
    page.page.locator(".ka-history-over").press("ArrowLeft")
    settled(page, lambda: session.viewed_step == times[-1]["step"] - 1)
    clean(page)


def test_terms_are_chosen_in_the_legend_and_steps_by_zooming(bridge, session):
    page = bridge(session, History(session))
    page.pump(0.2)
    ink = (
        "() => { const canvas = document.querySelector('.ka-history-plot canvas');"
        " const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});"
        " copy.drawImage(canvas, 0, 0); const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;"
        " let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; }"
    )
    full = page.page.evaluate(ink)
    page.page.locator("[data-term=loss]").dblclick()
    page.pump(0.2)
    pressed = page.page.eval_on_selector_all(".ka-history-term", "all => all.map(one => one.ariaPressed)")
    assert pressed == ["true"] + ["false"] * (len(pressed) - 1)
    assert page.page.evaluate(ink) < full
    box = page.page.locator(".ka-history-over").bounding_box()
    assert not page.page.get_by_text("↔ all").is_visible()
    page.page.keyboard.down("Shift")
    page.page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 60)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 60, steps=3)
    page.page.mouse.up()
    page.page.keyboard.up("Shift")
    page.pump(0.2)
    assert page.page.get_by_text("↔ all").is_visible()
    assert asked(page) == []
    page.page.get_by_text("↔ all").click()
    page.pump(0.2)
    assert not page.page.get_by_text("↔ all").is_visible()
    clean(page)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 2.0), (-0.02, -0.01), (-5000.0, 1.0)])
def test_terms_below_zero_have_ticks(browser, low, high):
    axes = (Path(ka_explore.__file__).parent / "panels/js/history/axes.js").read_text(encoding="utf-8")
    page = browser.new_page()
    box = {"y": {"log": False, "low": low, "high": high}, "height": 200, "type": 11}
    ticks = page.evaluate(f"box => {{ {axes}; return tickValues(box); }}", box)
    page.close()
    assert len(ticks) >= 3
    assert low - 1e-9 <= ticks[0] < ticks[-1] <= high + 1e-9
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_rows_of_a_playing_run_come_one_by_one_and_a_view_that_missed_some_asks_for_all(bridge, runs, monkeypatch):
    branch = Branch(folder=runs[0].folder)
    rows, branch.rows = branch.rows, branch.rows[:5]
    session = Session([branch])
    try:
        panel = History(session)
        page, before = bridge(session, panel), panel.film
        monkeypatch.setattr(Session, "busy", True)
        for count in (6, 15, 30):
            branch.rows = rows[:count]
            session.changed("rows")
            settled(page, lambda count=count: list(panel.there().values()) == [[count]] and newest(page) == count)
            assert values(page, "td[data-step]")[0] == pytest.approx(rows[count - 1]["loss"], rel=1e-6)
        assert panel.film == before, "the whole was sent once"
        late = bridge(session, panel)
        assert values(late, "td[data-step]")[0] == pytest.approx(rows[29]["loss"], rel=1e-6)
        branch.rows = rows[:31]
        session.changed("rows")
        settled(late, lambda: list(panel.there().values()) == [[31]])
        late.pending.clear()  # it is never told
        branch.rows = rows[:32]
        session.changed("rows")
        settled(late, lambda: panel.film != before and newest(late) == 32)
        assert values(late, "td[data-step]")[0] == pytest.approx(rows[31]["loss"], rel=1e-6)
        monkeypatch.setattr(Session, "busy", False)
        clean(page)
        clean(late)
    finally:
        session.close()


# Tables


def test_scrubbing_changes_the_table_without_a_message(bridge, session):
    panel = Tables(session)
    panel.settle()
    page = bridge(session, panel)
    page.pump(0.3)
    for near, step in ((0, 0), (12, 10), (29, 30), (40, 40)):
        look_at(page, near)
        expected = PROBES["error_by_class"](session.branch.snapshot(step)).values
        np.testing.assert_allclose(values(page, ".ka-tables td[data-value]"), expected.ravel(), rtol=1e-6)
        assert f"step {step}" in page.page.locator(".ka-tables-head output").text_content()
    assert asked(page) == []
    clean(page)


def test_the_difference_is_the_second_minus_the_first(bridge, session):
    session.show("base", "no MMD")
    panel = Tables(session)
    panel.settle()
    page = bridge(session, panel)
    look_at(page, 40)
    first, second = (PROBES["error_by_class"](branch.snapshot(40)).values for branch in session.compared)
    side_by_side = values(page, ".ka-tables td[data-value]")
    np.testing.assert_allclose(side_by_side, [*first.ravel(), *second.ravel()], rtol=1e-6)
    page.page.get_by_text("second − first").click()
    found = values(page, ".ka-tables td[data-value]")
    np.testing.assert_allclose(found, np.float32(second).ravel() - np.float32(first).ravel(), rtol=1e-5, atol=1e-9)
    look_at(page, 20)
    assert set(values(page, ".ka-tables td[data-value]")) == {0.0}, "the common past differs nowhere"
    assert asked(page) == []
    clean(page)


def test_a_table_is_chosen_and_its_class_selected_by_keyboard(bridge, session):
    panel = Tables(session)
    panel.settle()
    page = bridge(session, panel)
    page.pump(0.2)
    assert page.page.locator(".ka-tables option:disabled").first.get_attribute("title")
    page.page.locator(".ka-tables select").select_option("confusion")
    settled(page, lambda: page.page.locator(".ka-tables output").text_content() == "of step 40")
    snapshot = session.branch.snapshot(40)
    expected = PROBES["confusion"](snapshot)
    np.testing.assert_allclose(values(page, ".ka-tables td[data-value]"), np.float32(expected.values).ravel())
    heads = page.page.eval_on_selector_all(".ka-tables tbody th", "all => all.map(one => [one.scope, one.ariaLabel])")
    assert heads == [["row", name] for name in expected.rows]
    page.page.locator(".ka-tables tbody th").nth(0).click()
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    settled(page, lambda: np.array_equal(session.selection, np.flatnonzero(snapshot.labels["class"] == 2)))
    assert page.page.evaluate("document.activeElement.ariaLabel") == expected.rows[2]
    clean(page)


# Samples


def test_scrubbing_changes_the_answers_without_a_message(bridge, session):
    session.show("base", "no MMD")
    panel = Samples(session)
    panel.settle()
    page = bridge(session, panel)
    page.pump(0.3)
    places = Screen(panel).about["samples"]
    assert page.page.eval_on_selector_all("[data-sample]", "all => all.map(one => +one.dataset.sample)") == places
    for step in (0, 20, 40):
        look_at(page, step)
        found = np.array(values(page, ".ka-samples-student")).reshape(len(places), 2)
        for column, branch in enumerate(session.compared):
            scores = branch.snapshot(step).arrays["scores"][places].astype(float)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            expected = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1)
            np.testing.assert_allclose(found[:, column], expected, rtol=1e-4)
    assert asked(page) == []
    clean(page)


def test_images_are_selected_kept_and_found_again(bridge, session):
    panel = Samples(session)
    panel.settle()
    page = bridge(session, panel, Tables(session))
    page.pump(0.3)
    places = Screen(panel).about["samples"]
    page.page.locator(".ka-samples-tile").nth(1).click()
    settled(page, lambda: session.selection.tolist() == [places[1]])
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    settled(page, lambda: session.selection.tolist() == sorted(places[1:3]))
    marked = page.page.eval_on_selector_all("[aria-selected=true]", "all => all.map(one => +one.dataset.sample)")
    assert marked == places[1:3]
    page.page.get_by_text("keep ⚑").click()
    page.page.keyboard.type("these two")
    page.page.keyboard.press("Enter")
    settled(page, lambda: [kept["name"] for kept in panel.kept] == ["these two"])
    page.page.get_by_role("button", name="clear").click()
    settled(page, lambda: not len(session.selection))
    page.page.get_by_text("⚑ these two").click()
    settled(page, lambda: page.page.locator(".ka-samples-tile").count() == 2)
    page.page.locator(".ka-samples-tile").first.hover()
    hovered = "() => [...globalThis[Symbol.for('ka_explore.sessions')].values()].map(session => session.value('hover'))"
    assert sorted(places[1:3])[0] in page.page.evaluate(hovered)
    clean(page)


# All


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(320, 220), (480, 300), (1200, 600)])
def test_nothing_overlaps_or_overflows_at_any_size(bridge, session, dark, size):
    session.show("base", "no MMD")
    panels = [History(session), Tables(session), Samples(session)]
    for panel in panels[1:]:
        panel.settle()
    page = bridge(session, *panels, dark=dark)
    width, height = size
    style = f"#panels > div {{ width: {width}px; height: {height}px !important }}"
    page.page.add_style_tag(content="#panels { display: block !important } " + style)
    page.pump(0.4)
    for kind in ("history", "tables", "samples"):
        wide = page.page.evaluate(
            """kind => {
              const root = document.querySelector(`.ka-${kind}`), frame = root.getBoundingClientRect();
              const seen = part => part.getClientRects().length && !part.matches(".ka-hidden, .ka-tip");
              const parts = [...root.children].filter(seen);
              const boxes = parts.map(part => part.getBoundingClientRect());
              return {
                outside: boxes.some(box => box.right > frame.right + 1 || box.bottom > frame.bottom + 1),
                over: boxes.some((box, i) => i && box.top < boxes[i - 1].bottom - 1),
                flat: boxes.some(box => box.height < 10),
              };
            }""",
            kind,
        )
        assert wide == {"outside": False, "over": False, "flat": False}, kind
    clean(page)


def test_views_that_are_taken_away_leave_nothing_behind(bridge, session):
    panels = [History(session), Tables(session), Samples(session)]
    for panel in panels[1:]:
        panel.settle()
    page = bridge(session, *panels)
    page.pump(0.3)
    left = page.page.evaluate(
        """() => {
          const listeners = () => [...globalThis[Symbol.for('ka_explore.sessions')].values()]
            .flatMap(session => [...session.listeners.values()]).reduce((sum, all) => sum + all.size, 0);
          const before = listeners();
          for (const id of Object.keys(MODELS)) removePanel(id);
          const kept = Object.values(MODELS).flatMap(model => Object.values(model.handlers));
          const handlers = kept.reduce((sum, all) => sum + all.size, 0);
          return [before > 0, listeners(), handlers];
        }"""
    )
    assert left == [True, 0, 0]
    look_at(page, 3)
    session.changed("rows", "snapshots")
    page.pump(0.3)
    assert json.dumps(page.console) == "[]"
