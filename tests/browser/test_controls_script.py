"""What if, branches and findings in a browser: by mouse and by keyboard, and what the page sends is what was shown."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ka_explore import Run
from ka_explore.methods import METHODS
from ka_explore.methods.config import options_of
from ka_explore.panels.branch import Branch
from ka_explore.panels.branches import Branches
from ka_explore.panels.findings import Findings
from ka_explore.panels.forking import values_of
from ka_explore.panels.player import Player
from ka_explore.panels.session import Session
from ka_explore.panels.what_if import WhatIf

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("controls")]

STEPS = 12

# What is wider or higher than its panel, leaves its row, or lies over the next row.
MISPLACED = """() => {
  const found = [];
  const leaves = (part, box) => part.width && (part.left < box.left - 1 || part.right > box.right + 1
    || part.top < box.top - 1 || part.bottom > box.bottom + 1);
  const meet = (one, other) => one.left < other.right && other.left < one.right
    && one.bottom > other.top + 1 && other.bottom > one.top + 1;
  for (const root of document.querySelectorAll("section.ka")) {
    if (root.scrollWidth > root.clientWidth) found.push(`${root.className} is too wide`);
    if (root.scrollHeight > root.clientHeight + 1) found.push(`${root.className} is too high`);
    const rows = [...root.querySelectorAll(".ka-wi-row, .ka-br-item, .ka-fi-card")].filter(row => row.offsetParent);
    rows.forEach((row, i) => {
      const box = row.getBoundingClientRect();
      for (const inside of row.querySelectorAll("input, select, button, canvas, .ka-br-name")) {
        if (leaves(inside.getBoundingClientRect(), box)) found.push(`${inside.outerHTML.slice(0, 80)} leaves its row`);
      }
      if (i && meet(rows[i - 1].getBoundingClientRect(), box)) found.push("rows overlap");
    });
  }
  return found;
}"""


@pytest.fixture
def session(tiny_problem) -> Iterator[Session]:
    """A run of twelve steps, eight of them recorded."""
    problem = tiny_problem(images=30, shape=(1, 8, 8), names=["one", "a teacher with a rather long name"])
    run = Run(problem, name="base", steps=STEPS, batch_size=8, checkpoint_every=4, snapshot_every=4)
    made = Session([Branch(run.advance(8, progress=False))])
    yield made
    made.close()


def until(page: Any, condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The value of a condition once it holds; the page is kept up to date meanwhile."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        page.pump(0.05)
    return found


def check(page: Any) -> None:
    """Nothing stands in the console, and nothing was sent on a panel's own comm."""
    assert page.console == []
    assert not page.page.evaluate("window.wrongWay")


def control(page: Any, option: str) -> Any:
    return page.page.locator(f'.ka-wi-row[data-option="{option}"]')


def shown_by(page: Any, option: str) -> Any:
    """What a control shows, as it would be typed."""
    row = control(page, option)
    if row.locator("select").count():
        return row.locator("select").input_value()
    if row.locator('input[type="text"]').count():
        none = row.get_by_label(f"{option}: none")
        return None if none.count() and none.is_checked() else row.locator('input[type="text"]').input_value()
    if option == "without":
        boxes = row.get_by_role("switch")
        return [boxes.nth(i).is_checked() for i in range(boxes.count())]
    return row.get_by_role("switch").is_checked()


@pytest.mark.parametrize("method", ["common_feature", "distillation", "adaptive"])
def test_every_control_shows_what_is_in_force_and_touching_none_changes_none(method, tiny_problem, bridge):
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    session = Session([Branch(Run(problem, method, steps=4, batch_size=8))])
    try:
        page = bridge(session, WhatIf(session))
        page.page.locator("summary").click()
        config = values_of(
            {name: getattr(session.branch.run.config, name) for name in options_of(METHODS[method].Config)}
        )
        for option, value in config.items():
            found = shown_by(page, option)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                assert float(found) == value, option
            elif option == "without":
                assert found == [True, True]
            else:
                assert found == value, option
        assert page.page.locator(".ka-wi-changed").count() == 0
        assert page.page.locator(".ka-wi-fork").is_disabled()
        check(page)
    finally:
        session.close()


def test_a_slider_by_keyboard_an_exact_number_and_a_switch_make_a_fork(session, bridge):
    panel = WhatIf(session)
    page = bridge(session, panel)
    slider = control(page, "mmd_weight").get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    moved = float(shown_by(page, "mmd_weight"))
    assert 0.1 < moved < 0.2
    slider.press("ArrowLeft")
    assert float(shown_by(page, "mmd_weight")) == 0.1  # back on the default: nothing is changed
    assert page.page.locator(".ka-wi-changed").count() == 0
    slider.press("Home")
    assert float(shown_by(page, "mmd_weight")) == 0  # a logarithmic slider has a stop at 0
    control(page, "learning_rate").get_by_role("textbox").fill("0.0123456789012345")
    control(page, "without").get_by_label("one teaches").uncheck()
    control(page, "temperature").get_by_role("textbox").fill("7")
    control(page, "temperature").get_by_label("undo temperature").click()
    assert float(shown_by(page, "temperature")) == 1
    assert page.page.locator(".ka-wi-changed").count() == 3
    page.page.get_by_label("step to fork at").fill("5")
    until(page, lambda: panel.proposal.get("name"))
    page.page.get_by_label("play it at once").uncheck()
    page.page.locator(".ka-wi-fork").click()
    until(page, lambda: len(session.branches) == 2)
    made = session.branch.run
    before = session.branches["base"].run.config
    assert made.parent == ("base", 5)
    assert made.config == before.replace(mmd_weight=0.0, learning_rate=0.0123456789012345, without=("one",))
    until(page, lambda: page.page.locator(".ka-wi-changed").count() == 0)  # what was changed is in force now
    assert float(shown_by(page, "learning_rate")) == 0.0123456789012345
    check(page)


def test_what_cannot_be_read_stays_in_the_box_and_stops_the_fork(session, bridge):
    page = bridge(session, WhatIf(session))
    box = control(page, "mmd_weight").get_by_role("textbox")
    box.fill("much")
    assert "expected a number" in control(page, "mmd_weight").get_by_role("alert").inner_text()
    assert page.page.locator(".ka-wi-fork").is_disabled()
    box.fill("2e9")
    wrong = control(page, "mmd_weight").locator(".ka-wi-wrong")
    until(page, lambda: "0.0 to 1000.0" in wrong.text_content())
    assert box.input_value() == "2e9"
    box.fill("0.5")
    until(page, lambda: control(page, "mmd_weight").get_by_role("alert").count() == 0)
    assert page.page.locator(".ka-wi-fork").is_enabled()
    check(page)


def test_what_does_not_fit_in_mid_run_is_offered_from_the_start(session, bridge):
    page = bridge(session, WhatIf(session))
    page.page.locator("summary").click()
    control(page, "blocks").get_by_role("textbox").fill("1")
    page.page.locator(".ka-wi-fork").click()
    offer = page.page.get_by_role("button", name="fork at step 0 instead")
    until(page, offer.is_visible)
    assert "not forked" in page.page.locator(".ka-wi-problem").inner_text()
    assert shown_by(page, "blocks") == "1"  # nothing is lost
    offer.click()
    until(page, lambda: len(session.branches) == 2)
    assert session.branch.run.config.blocks == 1
    until(page, lambda: not page.page.locator(".ka-wi-problem").is_visible())
    until(page, lambda: session.branch.run.done)  # it plays at once
    check(page)


def test_the_python_is_shown_for_what_is_set(session, bridge):
    page = bridge(session, WhatIf(session))
    control(page, "mmd_weight").get_by_role("textbox").fill("0")
    page.page.get_by_label("show the Python").click()
    code = page.page.get_by_label("Python: this fork")
    until(page, lambda: code.count() and "mmd_weight=0.0" in code.inner_text())
    assert 'run.fork("mmd weight 0", at=8, mmd_weight=0.0)' in code.inner_text()
    page.page.keyboard.press("Escape")
    assert control(page, "mmd_weight").is_visible()
    check(page)


def test_b_in_the_player_forks_with_what_is_set(session, bridge):
    page = bridge(session, WhatIf(session), Player(session))
    player = page.page.locator(".ka-player")
    player.press("b")  # nothing is changed: nothing to fork
    control(page, "mmd_weight").get_by_role("textbox").fill("0.5")
    page.page.get_by_label("play it at once").uncheck()
    player.press("B")
    until(page, lambda: len(session.branches) == 2)
    assert session.branch.run.config.mmd_weight == 0.5
    check(page)


def test_two_views_of_one_panel_have_changes_of_their_own(session, bridge):
    panel = WhatIf(session)
    page = bridge(session, panel)
    page.add(panel, "again")
    first, second = (page.page.locator(".ka-what-if").nth(i) for i in (0, 1))
    first.locator('[data-option="mmd_weight"] input[type="text"]').fill("0.7")
    name = first.locator(".ka-wi-name input")
    until(page, lambda: name.get_attribute("placeholder") == "mmd weight 0.7")
    assert second.locator(".ka-wi-changed").count() == 0
    check(page)


def test_the_tree_by_keyboard(session, bridge):
    session.fork({"mmd_weight": 0.0}, name="child", at=4).result(30)
    session.fork({"soft_weight": 2.0}, name="grandchild", at=4).result(30)
    panel = Branches(session)
    page = bridge(session, panel)
    items = page.page.get_by_role("treeitem")
    assert items.count() == 3
    items.nth(2).focus()
    page.page.keyboard.press("Home")
    page.page.keyboard.press("Enter")
    until(page, lambda: session.active == "base")
    page.page.keyboard.press("ArrowDown")
    assert items.nth(1).evaluate("item => item === document.activeElement")
    was = "child" in session.shown
    page.page.keyboard.press(" ")
    until(page, lambda: ("child" in session.shown) != was)
    page.page.keyboard.press("F2")
    page.page.keyboard.type("no MMD")
    page.page.keyboard.press("Enter")
    until(page, lambda: list(session.branches) == ["base", "no MMD", "grandchild"])
    until(page, lambda: "no MMD" in items.nth(1).inner_text())
    assert items.nth(1).evaluate("item => item === document.activeElement")
    page.page.keyboard.press("F2")
    page.page.keyboard.type("never")
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("ArrowLeft")  # folds what was forked from it
    until(page, lambda: items.count() == 2)
    page.page.keyboard.press("ArrowRight")
    until(page, lambda: items.count() == 3)
    page.page.keyboard.press("Delete")
    until(page, lambda: list(session.branches) == ["base", "grandchild"])
    undo = page.page.get_by_role("button", name="undo")
    until(page, undo.is_visible)
    undo.click()
    until(page, lambda: list(session.branches) == ["base", "no MMD", "grandchild"])
    check(page)


def test_what_goes_wrong_with_branches_is_said_there(session, bridge):
    panel = Branches(session)
    page = bridge(session, panel)
    page.page.get_by_role("button", name="open…").click()
    page.page.get_by_label("folder of runs to open").fill("/nowhere/at/all")
    page.page.get_by_role("button", name="add").click()
    until(page, lambda: "there is no run" in page.page.locator(".ka-br-said").inner_text())
    assert page.page.get_by_role("button", name="delete").is_disabled()  # the last one
    assert page.page.get_by_label("show base").is_disabled()  # it plays
    check(page)


def test_findings_are_asked_for_and_open_with_their_evidence(session, bridge):
    panel = Findings(session)
    page = bridge(session, panel)
    assert "Not diagnosed yet" in page.page.locator(".ka-findings").inner_text()
    page.page.get_by_role("button", name="diagnose").click()
    until(page, lambda: page.page.locator(".ka-fi-card").count() > 0)
    place = next(i for i, finding in enumerate(panel.report["findings"]) if finding["picture"])
    card = page.page.locator(".ka-fi-card").nth(place)
    card.locator("summary").focus()
    page.page.keyboard.press("Enter")
    until(
        page, lambda: card.locator("img").count() and card.locator("img").evaluate("image => image.naturalWidth > 100")
    )
    session.play(10).result(30)
    until(page, lambda: "the run is at 10 now" in page.page.locator(".ka-fi-about").inner_text())
    assert card.locator("img").is_visible()  # what is open stays open
    check(page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(320, 220), (420, 330), (1880, 400)])
def test_nothing_overlaps_or_sticks_out(session, bridge, width, height, dark):
    for i in range(6):
        session.fork(
            {"mmd_weight": i + 0.5}, of="base" if i % 2 else None, name=f"a name that is long, the {i}", at=4
        ).result(30)
    page = bridge(session, WhatIf(session), Branches(session), Findings(session), dark=dark)
    page.page.set_viewport_size({"width": width + 40, "height": 1300})
    size = (
        f"#panels {{ grid-template-columns: {width}px !important }} #panels > div {{ height: {height}px !important }}"
    )
    page.page.add_style_tag(content=size)
    page.pump(0.3)
    assert page.page.evaluate(MISPLACED) == []
    check(page)


# What is interrupted


@pytest.mark.parametrize("release", ["pointerup", "blur"])
def test_the_timeline_is_let_go_also_where_the_browser_tells_of_no_change(session, bridge, release):
    page = bridge(session, Player(session))
    slider = page.page.locator(".ka-player-track input")
    slider.evaluate("e => { e.value = 4; e.dispatchEvent(new Event('input')); }")
    slider.evaluate(f"e => e.dispatchEvent(new PointerEvent('{release}'))")
    until(page, lambda: session.branch.run.step == 4)
    session.receive({"do": "step", "n": 1})
    until(page, lambda: page.page.locator(".ka-player").get_attribute("data-step") == "5")
    assert slider.input_value() == "5"
    check(page)


def test_a_branch_that_goes_while_it_is_renamed_leaves_the_others_to_be_renamed(session, bridge):
    session.fork({"mmd_weight": 0.0}, name="other", at=4).result(30)
    page = bridge(session, Branches(session))
    line = page.page.locator('[data-branch="other"]')
    line.click()
    page.page.keyboard.press("F2")
    page.page.locator(".ka-br-edit").fill("half a na")
    session.receive({"do": "delete", "name": "other"})
    until(page, lambda: line.count() == 0)
    page.pump(0.3)
    assert page.page.locator(".ka-br-error").count() == 0  # nobody asked for another name of what is gone
    page.page.locator('[data-branch="base"]').click()
    page.page.keyboard.press("F2")
    page.page.locator(".ka-br-edit").fill("first")
    page.page.keyboard.press("Enter")
    until(page, lambda: list(session.branches) == ["first"])
    check(page)
