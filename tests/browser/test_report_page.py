"""A report in a real browser: it opens from a file, asks nothing of the network, and is scrubbed without Python."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ka_explore import Run
from ka_explore.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]

NAME = "<script>alert('run')</script>"


@pytest.fixture(scope="module")
def page_file(tiny_problem, tmp_path_factory) -> Path:
    """A report of a run and its fork, with real figures, whose names are made to do harm."""
    folder = tmp_path_factory.mktemp("report")
    problem = tiny_problem(names=["one <script>alert(3)<", "two <img src=x onerror=alert(2)>"])
    options = {"steps": 6, "batch_size": 16, "width": 4, "blocks": 1}
    run = Run(problem, name=NAME, folder=folder / "run", snapshot_every=2, **options).advance(None)
    fork = run.fork("fork", at=2, mmd_weight=0.0).advance(None)
    return write_report([run, fork], folder / "a report.html")


@pytest.fixture
def opened(browser, page_file) -> Iterator:
    """The page, and what the browser said and asked for."""
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:80]}"))
    page.goto(page_file.as_uri())
    yield page, said, asked
    page.context.close()


def film(page):
    """The first film, its canvas as text, and its frame."""
    return page.locator(".points-film").first


def drawn(page) -> str:
    return film(page).locator(".points-film-stage > canvas").evaluate("canvas => canvas.toDataURL()")


def frame(page) -> int:
    return int(film(page).get_attribute("data-frame"))


def test_it_opens_without_an_error_and_asks_nothing_of_the_network(opened, page_file):
    page, said, asked = opened
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.mouse.wheel(0, 20_000)
    page.wait_for_timeout(300)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert NAME in page.title()
    assert page.locator("h1").inner_text() == f"{NAME} · fork"


def test_the_page_itself_forbids_the_network(opened):
    page, said, _ = opened
    page.evaluate("() => { const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; }")
    page.wait_for_timeout(200)
    assert any("Content Security Policy" in line for line in said)
    assert not any("ERR_CONNECTION" in line for line in said)  # it was stopped before it was sent


def test_every_picture_is_shown_and_nothing_is_wider_than_the_page(opened):
    page, _, _ = opened
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    broken = "() => [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
    assert page.locator("main img").count() > 30
    assert page.evaluate(broken) == []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_slider_moves_the_frames(opened):
    page, said, _ = opened
    slider = film(page).locator("input[type=range]")
    assert (frame(page), int(slider.get_attribute("max"))) == (0, 3)
    seen = {drawn(page)}
    for place in (1, 2, 3):
        slider.fill(str(place))
        assert frame(page) == place
        assert f"step {2 * place}" in film(page).locator("output").inner_text()
        seen.add(drawn(page))
    assert len(seen) == 4
    assert said == []


def test_the_keyboard_moves_the_frames_and_stops_at_the_ends(opened):
    page, _, _ = opened
    film(page).locator(".points-film-stage > canvas").focus()
    places = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        places.append(frame(page))
    assert places == [1, 2, 1, 0, 0]
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert frame(page) == 3


def test_playing_comes_to_the_last_frame_and_one_film_leaves_the_other_alone(opened):
    page, _, _ = opened
    film(page).get_by_role("button", name="play").click()
    sync_api.expect(film(page)).to_have_attribute("data-frame", "3", timeout=10_000)
    assert page.locator(".points-film").count() == 2
    assert page.locator(".points-film").nth(1).get_attribute("data-frame") == "0"


def test_a_click_on_a_net_hides_it_and_another_brings_it_back(opened):
    page, _, _ = opened
    before = drawn(page)
    entry = film(page).locator(".points-film-legend").get_by_role("button", name="one <script>alert(3)<")
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    assert drawn(page) != before
    entry.click()
    assert drawn(page) == before


def test_the_table_of_contents_leads_to_every_section(opened):
    page, _, _ = opened
    links = page.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert len(links) > 30
    missing = "targets => targets.filter(target => document.querySelector(target) === null)"
    assert page.evaluate(missing, links) == []
    page.locator("nav a", has_text="How to reproduce").click()
    assert page.locator("h3", has_text="How to reproduce").is_visible()
    assert page.evaluate("window.scrollY") > 1000


def test_on_paper_stills_stand_for_the_films_and_nothing_is_folded(opened):
    page, _, _ = opened
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert not film(page).is_visible()
    assert page.locator(".film .still img").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.locator("main details:not([open])").count() == 0
