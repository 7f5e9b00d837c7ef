"""The workbench in a real JupyterLab, with mouse and keyboard: what the page shows is what the kernel has."""

import time

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("jupyter")]

STEPS = 300
# 20 ms a step at least: on any machine there is time to press pause before the end.
SETUP = f"""
import hashlib, time, torch
from ka_explore import Run, toy
from ka_explore.panels.workbench import workbench

def digest(run):
    found = hashlib.sha256()
    for name, value in run.method.state_dict().items():
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()

if "bench" in globals():
    bench.close()
run = Run(toy.digits(), form="clouds", steps={STEPS}, batch_size=32, snapshot_every=10, checkpoint_every=40)
bench = workbench(run)
bench._session.driver.play_interval = 0.02
"""
SHOW = "bench"
BUSY = "begin = time.time()\nwhile time.time() - begin < 4:\n    time.sleep(0.005)"
COMPUTING = "begin = time.time()\nx = 0\nwhile time.time() - begin < 4:\n    x += 1"

# The session's bus in the browser: what the panels share there.
DESK = "[...globalThis[Symbol.for('ka_explore.sessions')].values()].at(-1)"


@pytest.fixture(scope="module")
def notebook(shared_lab):
    """A notebook that the tests of this file share: a kernel takes ten seconds until it trains."""
    return shared_lab.open([SETUP, SHOW, BUSY, COMPUTING])


@pytest.fixture
def shown(notebook):
    """The notebook with a new run and its workbench on the page, nothing played yet."""
    notebook.run(0, timeout=180)
    notebook.run(1)
    notebook.wait_for("() => document.querySelector('section.ka-player')?.dataset.step === '0'")
    notebook.page.wait_for_timeout(1000)  # until the page has its place beside the cells
    yield notebook
    notebook.screenshot(f"{notebook.name}-end")
    notebook.check()


def player(lab):
    return lab.page.locator("section.ka-player").first


def play_button(lab):
    return player(lab).locator(".ka-player-play")


def step_on_page(lab) -> int:
    return int(player(lab).get_attribute("data-step"))


def step_in_kernel(lab) -> int:
    return lab.kernel_value("run.step")


def wait_for_step(lab, step: int, timeout: float = 30) -> None:
    """Until the player shows this step or a later one."""
    lab.wait_for("step => Number(document.querySelector('section.ka-player').dataset.step) >= step", step, timeout)


def wait_until_it_waits(lab, timeout: float = 30) -> None:
    """Until nothing runs."""
    lab.wait_for("() => document.querySelector('section.ka-player').dataset.doing === ''", timeout=timeout)


def play_to(lab, step: int) -> None:
    """Play until the player shows this step, then pause."""
    play_button(lab).click()
    wait_for_step(lab, step)
    play_button(lab).click()
    wait_until_it_waits(lab)


def seconds_until_paused(lab) -> float:
    """Press pause; seconds from the press until the player shows that it waits, by the page's own clock."""
    lab.page.evaluate(
        "() => { const player = document.querySelector('section.ka-player'), begun = performance.now();"
        " window.paused = null;"
        " const look = () => { if (player.dataset.doing === '') { window.paused = performance.now() - begun; } };"
        " new MutationObserver(look).observe(player, {attributes: true});"
        " player.querySelector('.ka-player-play').click(); look(); }"
    )
    return lab.wait_for("() => window.paused", timeout=20) / 1000


def drag_timeline(lab, step: int) -> None:
    """Drag the timeline's handle to a step, in small moves."""
    slider = player(lab).locator("input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()

    def x(at: float) -> float:
        return box["x"] + 8 + (box["width"] - 16) * at / STEPS

    y, now = box["y"] + box["height"] / 2, float(slider.input_value())
    lab.page.mouse.move(x(now), y)
    lab.page.mouse.down()
    for part in np.linspace(now, step, 12):
        lab.page.mouse.move(x(part), y)
    lab.page.mouse.up()


def lasso(lab, share: float) -> None:
    """Draw a box around the left share of the points in the first picture."""
    canvas = lab.page.locator("canvas.ka-points-over").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    pixels = np.array(lab.page.evaluate("() => document.querySelector('.ka-points').inspect().pixels"), float)
    x = pixels[::2][np.isfinite(pixels[::2])]
    left, right = x.min() - 8, np.quantile(x, share) + (8 if share == 1 else 0)
    corners = [(left, 2), (right, 2), (right, box["height"] - 2), (left, box["height"] - 2), (left, 8)]
    places = [(box["x"] + a, box["y"] + b) for a, b in corners]
    lab.page.mouse.move(*places[0])
    lab.page.mouse.down()
    for place in places[1:]:
        lab.page.mouse.move(*place, steps=6)
    lab.page.mouse.up()


def selected_on_page(lab) -> list[int]:
    return lab.page.evaluate(f"() => [...({DESK}.value('selection') ?? [])]")


def wait_for_equal(read, expected, seconds: float = 60.0):
    """What is read, once it is what is expected; the last of it otherwise."""
    deadline = time.monotonic() + seconds
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_play_moves_the_counter_on_the_page_and_the_run_in_the_kernel(shown):
    assert (step_on_page(shown), step_in_kernel(shown)) == (0, 0)
    shown.screenshot("fresh")
    play_button(shown).click()
    wait_for_step(shown, 20)
    assert step_in_kernel(shown) >= 20
    counter = player(shown).locator(".ka-player-step")
    before = counter.inner_text()
    shown.page.wait_for_timeout(700)
    assert counter.inner_text() != before
    assert seconds_until_paused(shown) <= 3.0  # how fast: tests/benchmarks
    assert step_on_page(shown) == step_in_kernel(shown)
    # By keyboard: one step, and back.
    now = step_in_kernel(shown)
    player(shown).focus()
    shown.page.keyboard.press("ArrowRight")
    assert wait_for_equal(lambda: step_in_kernel(shown), now + 1) == now + 1
    wait_until_it_waits(shown)
    shown.page.keyboard.press("ArrowLeft")
    assert wait_for_equal(lambda: step_in_kernel(shown), now) == now
    shown.screenshot("played")
    shown.set_theme("dark")
    shown.screenshot("played-dark")


@pytest.mark.parametrize("cell", [2, 3], ids=["sleeping", "computing"])
def test_pause_works_while_a_cell_runs(shown, cell):
    took = []
    for _ in range(2):
        play_button(shown).click()
        wait_for_step(shown, step_on_page(shown) + 5)
        shown.begin(cell)
        shown.page.wait_for_timeout(400)
        took.append(seconds_until_paused(shown))
        stands = step_in_kernel(shown)
        assert not shown.page.evaluate("window.started.done === true"), "the cell ended before the pause"
        shown.page.wait_for_timeout(300)
        assert step_in_kernel(shown) == stands
        shown.wait()
    assert max(took) <= 1.5, took  # far from the cell's four seconds; tests/benchmarks has the figure


def test_dragging_the_timeline_back_and_replaying_gives_the_same_weights(shown):
    play_to(shown, 90)
    last = step_in_kernel(shown)
    weights = shown.kernel_value("digest(run)")
    drag_timeline(shown, 50)
    wait_until_it_waits(shown)
    there = wait_for_equal(lambda: step_on_page(shown), 50)
    assert abs(there - 50) <= 2  # a pixel is about a third of a step
    assert wait_for_equal(lambda: step_in_kernel(shown), there) == there
    assert shown.kernel_value("digest(run)") != weights
    assert shown.kernel_value("run.recorded") == last
    for _ in range(last - there):
        player(shown).get_by_label("one step").click()
        there += 1
        assert wait_for_equal(lambda: step_in_kernel(shown), there) == there
        if there > 60:  # the rest by playing: what is recorded is replayed to the same weights
            shown.kernel_value(f"bool(bench.advance({last} - run.step))")
            break
    assert step_in_kernel(shown) == last
    assert shown.kernel_value("digest(run)") == weights


def test_a_lasso_selects_the_same_samples_in_python(shown):
    play_to(shown, 30)
    shown.wait_for("() => document.querySelector('.ka-points')?.dataset.ready === 'true'")
    lasso(shown, 0.2)
    here = selected_on_page(shown)
    probes = shown.kernel_value("len(run.snapshot().index)")
    assert 0 < len(here) < probes
    assert wait_for_equal(lambda: shown.kernel_value("bench.selection.tolist()"), here) == here
    shown.screenshot("selected")
    # Around everything, together with shift: all of them.
    shown.page.keyboard.down("Shift")
    lasso(shown, 1)
    shown.page.keyboard.up("Shift")
    assert wait_for_equal(lambda: len(shown.kernel_value("bench.selection.tolist()")), probes) == probes
    # Escape selects none; Python's own selection is shown.
    shown.page.keyboard.press("Escape")
    assert wait_for_equal(lambda: shown.kernel_value("bench.selection.tolist()"), []) == []
    shown.kernel_value("bool(bench.select([3, 1, 4]))")
    assert wait_for_equal(lambda: selected_on_page(shown), [1, 3, 4]) == [1, 3, 4]


def test_a_fork_with_a_changed_slider_is_drawn_beside_its_parent(shown):
    play_to(shown, 30)
    parent, at = shown.kernel_value("bench.run.name"), step_in_kernel(shown)
    usual, weights = shown.kernel_value("run.config.mmd_weight"), shown.kernel_value("digest(run)")
    slider = shown.page.locator('[data-option="mmd_weight"] input[type=range]')
    slider.scroll_into_view_if_needed()
    slider.focus()
    for _ in range(3):
        shown.page.keyboard.press("PageUp")
    name = shown.page.get_by_label("name of the fork")
    name.fill("stronger")
    shown.page.locator("button.ka-wi-fork").click()
    assert wait_for_equal(lambda: shown.kernel_value("list(bench.runs)"), [parent, "stronger"], 15) == [
        parent,
        "stronger",
    ]
    assert shown.kernel_value("list(bench.runs['stronger'].parent)") == [parent, at]
    assert shown.kernel_value("bench.runs['stronger'].config.mmd_weight") > usual
    wait_for_step(shown, at + 10)
    play_button(shown).click()
    wait_until_it_waits(shown)
    # The past is as it was, and both are on the page.
    assert (step_in_kernel(shown), shown.kernel_value("digest(run)")) == (at, weights)
    assert shown.kernel_value("bench.runs['stronger'].step") == step_on_page(shown)
    legend = shown.page.locator(".ka-history-legend")
    expect(legend).to_contain_text("stronger")
    expect(legend).to_contain_text(parent)
    expect(shown.page.locator('[data-branch="stronger"]')).to_have_count(1)
    shown.screenshot("forked")


def test_what_goes_wrong_is_read_in_the_panel(shown):
    play_to(shown, 20)
    before = step_in_kernel(shown)
    shown.run(shown.add("with torch.no_grad():\n    next(run.student.parameters()).fill_(float('nan'))"))
    play_button(shown).click()
    alarm = player(shown).get_by_role("alert")
    alarm.wait_for()
    assert "finite" in alarm.inner_text() or "NaN" in alarm.inner_text()
    assert str(before) in alarm.inner_text()
    assert step_in_kernel(shown) == before
    shown.screenshot("diverged")
    # Nothing is stuck: the message goes, a step back and the run trains on.
    alarm.get_by_role("button").click()
    expect(alarm).to_be_hidden()
    player(shown).get_by_label("reset").click()
    assert wait_for_equal(lambda: step_in_kernel(shown), 0) == 0
    wait_until_it_waits(shown)
    play_to(shown, before + 5)
    assert step_in_kernel(shown) >= before + 5


@pytest.mark.parametrize("back", ["reload", "close_and_reopen"])
def test_everything_is_there_again(shown, back):
    play_to(shown, 40)
    shown.kernel_value("bool(bench.select([2, 5, 7]))")
    weights, step = shown.kernel_value("digest(run)"), step_in_kernel(shown)
    getattr(shown, back)()
    player(shown).wait_for()
    shown.wait_for("step => Number(document.querySelector('section.ka-player').dataset.step) === step", step)
    shown.wait_for("() => document.querySelector('.ka-points')?.dataset.ready === 'true'")
    assert wait_for_equal(lambda: selected_on_page(shown), [2, 5, 7]) == [2, 5, 7]
    assert shown.kernel_value("digest(run)") == weights
    shown.page.wait_for_timeout(1000)
    shown.screenshot(back)
    # It is not a picture: it plays on, and pauses while a cell runs.
    play_button(shown).click()
    wait_for_step(shown, step + 5)
    shown.begin(2)
    shown.page.wait_for_timeout(400)
    assert seconds_until_paused(shown) <= 3.0
    assert not shown.page.evaluate("window.started.done === true"), "the cell ended before the pause"
    shown.wait()


def test_it_plays_on_after_a_reload_while_a_cell_runs(shown):
    play_to(shown, 10)
    shown.begin(2)
    shown.save()
    shown.page.reload()
    player(shown).wait_for(timeout=60_000)  # JupyterLab waits for the cell's end
    shown.page.wait_for_timeout(1500)
    play_button(shown).click()
    wait_for_step(shown, 15)
    shown.begin(2)
    shown.page.wait_for_timeout(400)
    assert seconds_until_paused(shown) <= 3.0
    assert not shown.page.evaluate("window.started.done === true"), "the cell ended before the pause"
    shown.wait()


MADE_HERE = f"""
import threading
from ipywidgets.widgets.widget import _instances
made = Run(run.problem, form="clouds", steps={STEPS}, batch_size=32, snapshot_every=50)
runs.append(made)
workbench(made, show=["player", "history"])
"""
THERE = "[sorted(t.name for t in threading.enumerate() if t.name.startswith('ka_explore')), len(_instances)]"


def test_a_cell_that_is_run_again_leaves_one_workbench_and_another_cell_takes_it_over(lab):
    """Slow: seven cells and a page that is loaded anew, in a real JupyterLab."""
    lab.open([SETUP + "runs = []\nbench.close()", MADE_HERE, "workbench(runs[-1], show=['player'])"])
    lab.run(0, timeout=180)
    there = []
    for _ in range(3):
        lab.run(1)
        player(lab).wait_for()
        play_button(lab).click()
        wait_for_step(lab, 2)
        there.append(lab.kernel_value(THERE))
    assert there == there[:1] * 3
    assert len(set(there[0][0])) == len(there[0][0]) == 3
    assert lab.page.locator("section.ka-player").count() == 1
    stood = lab.kernel_value("[each.step for each in runs[:2]]")
    # Looking at it in other ways ends nothing.
    lab.do("app => app.commands.execute('notebook:create-output-view')")
    lab.do("app => { app.shell.currentWidget.close(); }")
    lab.reload()
    player(lab).wait_for()
    assert lab.kernel_value("[each.step for each in runs[:2]]") == stood, "an old run trained on"
    assert lab.kernel_value(THERE) == there[0]
    # Another cell takes over; a page that was loaded anew has the last picture of the old one.
    lab.run(2)
    expect(lab.output(2).locator("section.ka-player")).to_be_visible()
    expect(lab.output(1)).to_contain_text(
        "A static picture of what the panels showed last; run the cell for the live ones."
    )
    expect(lab.output(1).locator("figure.ka-static")).to_be_visible()
    assert lab.page.locator("section.ka-player").count() == 1
    lab.run(1)
    assert lab.kernel_value("len(runs)") == 4
    expect(lab.page.locator("section.ka-player")).to_have_count(2)  # another run, in another cell
    lab.run(2)
    expect(lab.output(1)).to_contain_text("This workbench has ended: another workbench shows its run now.")
    expect(lab.page.locator("section.ka-player")).to_have_count(1)
    assert lab.kernel_value(THERE)[0] == there[0][0]
    lab.screenshot("taken-over")


def test_a_saved_notebook_without_its_kernel_shows_the_last_pictures(shown, browser, server):
    play_to(shown, 20)
    assert not shown.page.locator("figure.ka-static").first.is_visible()
    shown.page.wait_for_timeout(6000)  # pictures are drawn every 5 s at most
    shown.save()
    saved = server.notebooks / f"{shown.name}-saved.ipynb"
    saved.write_text(shown.file.read_text().replace('"nbformat_minor"', '"nbformat_minor" '))
    other = type(shown)(browser, server).open(file=saved)
    try:
        figure = other.page.locator("figure.ka-static").first
        figure.wait_for()
        assert figure.locator("img").evaluate("image => image.complete && image.naturalWidth > 300")
        assert "static picture" in figure.inner_text()
        other.screenshot("without-kernel")
        other.expected = ["widget model not found"]  # JupyterLab's own
    finally:
        other.close()
    other.check()


def test_on_ipykernel_6_a_request_waits_for_the_cell_and_the_panel_says_so(lab, ipykernel6):
    lab.open([SETUP, SHOW, BUSY], kernel=ipykernel6)
    lab.run(0, timeout=180)
    lab.run(1)
    player(lab).wait_for()
    play_button(lab).click()
    wait_for_step(lab, 5)
    assert seconds_until_paused(lab) <= 3.0
    assert step_on_page(lab) == step_in_kernel(lab)
    play_button(lab).click()
    wait_for_step(lab, step_on_page(lab) + 5)
    lab.begin(2)
    lab.page.wait_for_timeout(400)
    step = step_on_page(lab)
    play_button(lab).click()
    player(lab).get_by_text("queued until the running cell ends").wait_for(timeout=3000)
    lab.screenshot("queued")
    assert not lab.page.evaluate("window.started.done === true")
    assert step_on_page(lab) > step  # it trains on meanwhile
    lab.wait()
    wait_until_it_waits(lab)
    expect(player(lab).get_by_text("queued until the running cell ends")).to_be_hidden()
    assert step_on_page(lab) == step_in_kernel(lab)
