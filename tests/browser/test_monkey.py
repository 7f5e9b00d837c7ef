"""Random clicks, drags and keys in the workbench leave no error, no stuck player, and runs that replays confirm.

KA_EXPLORE_MONKEY_SECONDS says for how long; a seed makes the same choices again.
"""

import os
import random
import time

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("jupyter")]

SECONDS = float(os.environ.get("KA_EXPLORE_MONKEY_SECONDS", "15"))
SETUP = """
from ka_explore import Run, toy
from ka_explore.panels import workbench
run = Run(toy.digits(), form="clouds", steps=300, batch_size=32, snapshot_every=10, checkpoint_every=40)
bench = workbench(run)
session = bench._session
"""
# What may be pressed: everything that is on the page and enabled, but what opens files or leaves the page.
ALL = ", ".join(f".ka {kind}" for kind in ("button", "select", "input", "canvas", "summary", "td", "[role=treeitem]"))
TARGETS = """
all => [...document.querySelectorAll(all)]
  .map((element, place) => ({element, place}))
  .filter(({element}) => !element.disabled && element.offsetParent !== null && element.clientWidth > 3)
  .map(({element, place}) => ({
    place, tag: element.tagName, type: element.type ?? '',
    text: (element.title || element.textContent || '').slice(0, 60),
  }))
"""
KEYS = [" ", "ArrowLeft", "ArrowRight", "Home", "End", "Escape", "l", "+", "-", "0", "Enter", "Tab", "b"]


def press(page, chance, target) -> None:
    """One thing a hand might do with a target."""
    element = page.locator(ALL).nth(target["place"])
    box = element.bounding_box(timeout=500)
    if box is None:
        return
    x, y = box["x"] + chance.random() * box["width"], box["y"] + chance.random() * box["height"]
    if target["tag"] == "SELECT":
        options = element.locator("option:not([disabled])")
        if not options.count():
            return
        element.select_option(index=None, value=options.nth(chance.randrange(options.count())).get_attribute("value"))
    elif target["tag"] == "CANVAS" or target["type"] == "range":
        page.mouse.move(x, y)
        page.mouse.down()
        for _ in range(chance.randint(0, 6)):
            page.mouse.move(box["x"] + chance.random() * box["width"], box["y"] + chance.random() * box["height"])
        page.mouse.up()
        if target["tag"] == "CANVAS" and chance.random() < 0.3:
            page.mouse.wheel(0, chance.choice([-200, 200]))
    elif target["type"] in ("text", "number"):
        element.fill(chance.choice(["3", "0.5", "x", ""]) if target["type"] == "text" else "3", timeout=500)
        page.keyboard.press("Enter")
    else:
        page.mouse.click(x, y)


@pytest.mark.parametrize("seed", [0])
def test_whatever_is_pressed_the_runs_are_what_replays_give(lab, seed):
    """Slow: a hand needs its time, and every open run is replayed."""
    chance = random.Random(seed)
    lab.open([SETUP, "bench"])
    lab.run(0, timeout=180)
    lab.run(1)
    page = lab.page
    page.wait_for_selector(".ka-points[data-painted]", timeout=30_000)
    page.wait_for_timeout(1500)
    page.on("dialog", lambda dialog: dialog.dismiss())
    end, presses, log = time.monotonic() + SECONDS, 0, []
    while time.monotonic() < end:
        targets = [t for t in page.evaluate(TARGETS, ALL) if "save" not in t["text"].lower()]
        target = chance.choice(targets)
        log.append(target)
        try:
            page.locator(ALL).nth(target["place"]).scroll_into_view_if_needed(timeout=500)
            press(page, chance, target)
        except Exception as error:  # the page changed under the hand: that is the hand's risk, not a fault
            if "Timeout" not in str(error) and "not attached" not in str(error):
                raise
        if chance.random() < 0.15:
            page.keyboard.press(chance.choice(KEYS))
        presses += 1
        page.wait_for_timeout(chance.choice([5, 30, 120]))
    assert presses > SECONDS / 10
    page.keyboard.press("Escape")
    lab.kernel_value("session.pause()")
    deadline = time.monotonic() + 60
    while lab.kernel_value("session.status.doing") and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert lab.kernel_value("session.status.doing") == "", "the player is stuck"
    error = lab.kernel_value("session.error")
    assert "Traceback" not in error, log[-20:]
    assert "Error: " not in error.split("\\n")[0], log[-20:]
    # every run that is open gives its recorded rows again: a row that differs raises ReplayMismatch
    for name in lab.kernel_value("list(bench.runs)"):
        replay = f"(lambda run: run.rewind(0) and run.advance(run.recorded, progress=False).step)(bench.runs[{name!r}])"
        assert lab.kernel_value(replay, timeout=180) >= 0
    # and the player plays
    step = lab.kernel_value("bench.run.rewind(0).step")
    lab.kernel_value("bench.advance(3).run.step", timeout=60)
    assert lab.kernel_value("bench.run.step") == step + 3
