"""Every state of the workbench at the sizes and in the themes of class rooms, with all that makes it full: five nets,
twenty classes, long names. What can be measured is: nothing overlaps, is cut or jumps. For the rest there are
pictures, where KA_EXPLORE_SCREENSHOTS names a folder.
"""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("jupyter")]

# Digits as they are and their negatives: twenty classes of real images, each teacher for five of them.
SETUP = """
import numpy as np, torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from ka_explore import Pool, Problem, Run, Student, Teacher, diagnose
from ka_explore.panels import workbench

images, digits = load_digits(return_X_y=True)
images = np.concatenate([images, 16 - images]).reshape(-1, 1, 8, 8).astype(np.float32) / 16
labels = np.concatenate([digits, 10 + digits])
chosen = np.random.default_rng(0).permutation(len(images))[:800]
images, labels = images[chosen], labels[chosen]
words = [f"digit {d} {how}" for how in ("written in white on black", "written in black on white") for d in range(10)]

def net(columns, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, columns),
    )

def teacher(place):
    own = (labels // 5) == place
    x, y = torch.from_numpy(images[own]), torch.from_numpy(labels[own] % 5)
    made = net(5, place)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(made(x), y).backward()
        optimizer.step()
    known = words[5 * place:5 * place + 5]
    return Teacher(f"the teacher of family number {place + 1}", made, layers=["6"], labels=known)

pool = Pool(images, labels={"class": labels}, probe=300)
problem = Problem(
    [teacher(place) for place in range(4)], pool,
    student=lambda wanted: Student.of(net(len(wanted.columns), 9), layers=["6"], labels=wanted),
)
run = Run(problem, form="clouds", name="twenty classes from four teachers", steps=400, batch_size=64, snapshot_every=20)
"""
LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
FAULTS, PLACES = f"() => {{ {LOOKS}; return faults(); }}", f"() => {{ {LOOKS}; return places(); }}"


def look(lab, state: str, places=("player", "samples", "findings")) -> None:
    """Measure what can be measured, on the smaller page in both themes, and keep pictures of all parts of the page."""
    for theme in ("light", "dark") if lab.page.viewport_size["width"] < 1500 else ("light",):
        lab.set_theme(theme)
        lab.page.wait_for_timeout(400)
        assert lab.page.evaluate(FAULTS) == [], f"{state}, {theme}"
        for place in places if "KA_EXPLORE_SCREENSHOTS" in os.environ else ():
            lab.page.evaluate("name => document.querySelector(`section.ka-${name}`)?.scrollIntoView()", place)
            lab.page.wait_for_timeout(250)
            lab.screenshot(f"{state}-{lab.page.viewport_size['width']}-{theme}-{place}")
    lab.page.evaluate("document.querySelector('section.ka-player').scrollIntoView()")
    lab.set_theme("light")


@pytest.mark.parametrize(("lab", "layout"), [((1280, 800), "laptop"), ((1920, 1080), "projector")], indirect=["lab"])
def test_nothing_overlaps_or_jumps_in_any_state(lab, layout):
    """Slow: ten states in two themes, of runs that have to get there, after four teachers were trained."""
    lab.open([SETUP, f"bench = workbench(run, layout={layout!r})\nsession = bench._session\nbench"])
    if layout == "laptop":
        lab.do("app => app.commands.execute('application:toggle-left-area')")
    lab.run(0, timeout=180)
    lab.run(1)
    page = lab.page
    page.wait_for_selector(".ka-points[data-ready]", timeout=30_000)
    page.wait_for_timeout(1500)
    look(lab, "fresh")

    # While it plays nothing moves but what is drawn.
    lab.kernel_value("setattr(session.driver, 'play_interval', 0.02)")
    page.locator(".ka-player-play").click()
    lab.wait_for("() => Number(document.querySelector('section.ka-player').dataset.step) >= 45", timeout=60)
    before, moved = page.evaluate(PLACES), {}
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        for name, box in page.evaluate(PLACES).items():
            was = before.get(name)
            if was is None or max(abs(a - b) for a, b in zip(was, box, strict=True)) > 1.5:
                moved[name] = (was, box)
        page.wait_for_timeout(50)
    assert moved == {}
    look(lab, "playing")
    lab.kernel_value("session.pause()")
    lab.wait_for("() => document.querySelector('section.ka-player').textContent.includes('waits')", timeout=30)

    # Selected and pointed at.
    lab.kernel_value("bool(bench.colour('class').select(list(range(0, 40, 3))))")
    page.wait_for_timeout(800)
    look(lab, "selected")
    box = page.locator(".ka-points-over").first.bounding_box()
    for share in range(5, 95, 2):
        page.mouse.move(box["x"] + share / 100 * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_timeout(60)
        if page.locator(".ka-points-tip").is_visible():
            break
    page.wait_for_timeout(400)
    tip = page.locator(".ka-points-tip")
    assert tip.is_visible()
    assert tip.evaluate("tip => tip.scrollWidth - tip.clientWidth") <= 0
    lab.screenshot(f"pointed-{layout}")

    # Branches, two and three of them.
    lab.kernel_value("bool(bench.fork('the same without the discrepancy', at=40, mmd_weight=0.0))")
    lab.kernel_value("bool(bench.advance(20))", timeout=60)
    page.wait_for_timeout(1500)
    look(lab, "forked")
    lab.kernel_value("bool(bench.fork('twice the reconstruction error', at=20, reconstruction_weight=2.0))")
    lab.kernel_value("bool(bench.advance(40))", timeout=60)
    lab.kernel_value("session.show(*session.branches)")
    page.wait_for_timeout(1500)
    look(lab, "three")

    # A changed option, findings, a view that is computed.
    slider = page.locator('[data-option="mmd_weight"] input[type=range]')
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.keyboard.press("PageUp")
    page.get_by_role("button", name="diagnose").first.click()
    page.wait_for_timeout(2500)
    look(lab, "changed", ("what_if", "findings"))
    page.locator(".ka-points-bar select").first.select_option("tsne")
    page.wait_for_timeout(300)
    look(lab, "computing", ("player",))

    # What goes wrong is said.
    lab.run(lab.add("with torch.no_grad():\n    next(bench.run.student.parameters()).fill_(float('nan'))"))
    page.locator(".ka-player-play").click()
    page.locator("section.ka-player").get_by_role("alert").wait_for()
    look(lab, "diverged", ("player",))
