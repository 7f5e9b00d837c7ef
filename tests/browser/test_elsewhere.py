"""The workbench in other places than JupyterLab: as a page without code (Voilà), and in Notebook 7."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from ka_explore import toy

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("jupyter")]

LECTURE = Path(__file__).parents[2] / "notebooks" / "lecture" / "amalgamation.ipynb"
HERE = "127.0.0.1"


@contextmanager
def serving(server, command: list[str], path: str, **more: str) -> Iterator[str]:
    """A server that is started with this command and ``{port}`` in it, and more variables; gives its address."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    address = f"http://{HERE}:{port}"
    log = server.folder / f"{port}.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=server.environment() | {"JUPYTER_TOKEN": ""} | more,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}{path}", timeout=60).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def watched_page(browser, own: set[str] = frozenset()) -> Iterator:
    """A page of its own; at the end its console shows no error but the place's own, and no other host was asked.

    ``page.said`` is what it showed, without places in files.
    """
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    page = context.new_page()
    page.said, elsewhere = set(), []
    page.on("pageerror", lambda error: page.said.add(str(error)[:60]))
    page.on("console", lambda message: page.said.add(message.text[:60]) if message.type == "error" else None)
    page.on("request", lambda asked: elsewhere.append(asked.url) if HERE not in asked.url.split("/")[2] else None)
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    yield page
    context.close()
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []
    assert page.said <= own


def plays(page) -> None:
    """Press play, see the counter move, pause."""
    page.wait_for_selector(".ka-player-play", timeout=120_000)
    page.wait_for_timeout(1000)
    page.click(".ka-player-play")
    page.wait_for_function("Number(document.querySelector('.ka-player').dataset.step) > 3", timeout=60_000)
    page.click(".ka-player-play")
    page.wait_for_selector(".ka-player[data-doing='']")


def own_of_voila(browser, server) -> set[str]:
    """The errors that Voilà's console shows of a notebook with one slider of ipywidgets."""
    file = server.notebooks / "slider.ipynb"
    cells = [nbformat.v4.new_code_cell("import ipywidgets\nipywidgets.IntSlider()")]
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)
    command = [sys.executable, "-m", "voila", str(file), "--no-browser", "--port={port}", f"--Voila.ip={HERE}"]
    context = browser.new_context()
    page = context.new_page()
    page.route("https://**", lambda route: route.fulfill(status=204))
    said: set[str] = set()
    page.on("console", lambda message: said.add(message.text[:60]) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.add(str(error)[:60]))
    with serving(server, command, "/voila/static/favicon.ico") as address:
        page.goto(address, timeout=120_000)
        page.wait_for_selector(".widget-slider", timeout=60_000)
        page.wait_for_timeout(1000)
    context.close()
    return said


def test_the_lecture_is_a_page_without_code(browser, server):
    """Slow: two Voilà servers, each with a kernel that imports torch before there is a page."""
    command = [
        sys.executable, "-m", "voila", str(LECTURE), "--no-browser", "--port={port}", f"--Voila.ip={HERE}",
        "--VoilaConfiguration.show_tracebacks=True", "--template=offline",
    ]  # fmt: skip
    toy.mnist()  # its teachers are trained here: the bar of that is gone before Voilà's page can show it
    started = serving(server, command, "/voila/static/favicon.ico", JUPYTER_PATH=str(LECTURE.parent))
    with started as address, watched_page(browser, own_of_voila(browser, server)) as page:
        page.goto(address, timeout=120_000)
        plays(page)
        assert page.locator(".ka-points").count() == 1
        assert "workbench(run" not in page.inner_text("body")


def test_notebook_7_shows_the_same(browser, server):
    """Slow: a server of Notebook 7 and a kernel of its own."""
    cells = [
        nbformat.v4.new_code_cell(
            "from ka_explore import Run, toy\nfrom ka_explore.panels import workbench\n"
            "workbench(Run(toy.digits(), steps=200, snapshot_every=10), show=['player', 'points'])"
        )
    ]
    file = server.notebooks / "seven.ipynb"
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)
    command = [
        sys.executable, "-m", "notebook", "--no-browser", "--ServerApp.port={port}", f"--ServerApp.ip={HERE}",
        "--ServerApp.token=", "--ServerApp.password=", "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={server.notebooks}",
    ]  # fmt: skip
    own: set[str] = set()  # what the place says before anything of ours is there
    with serving(server, command, "/api") as address, watched_page(browser, own) as page:
        page.goto(f"{address}/notebooks/{file.name}", timeout=60_000)
        page.wait_for_selector(".jp-Cell", timeout=60_000)
        page.wait_for_timeout(3000)
        own |= page.said
        page.locator(".jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        plays(page)
        page.wait_for_selector(".ka-points[data-painted]")
