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

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

LECTURE = Path(__file__).parents[2] / "notebooks" / "lecture" / "amalgamation.ipynb"
HERE = "127.0.0.1"


@contextmanager
def serving(server, command: list[str], path: str) -> Iterator[str]:
    """A server that is started with this command and ``{port}`` in it; gives its address."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    address = f"http://{HERE}:{port}"
    log = server.folder / f"{port}.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=server.environment() | {"JUPYTER_TOKEN": ""},
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
def watched_page(browser) -> Iterator:
    """A page of its own; at the end no error stands in its console and no other host was asked."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    page = context.new_page()
    errors, elsewhere = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: elsewhere.append(asked.url) if HERE not in asked.url.split("/")[2] else None)
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    yield page
    context.close()
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []
    assert errors == []


def plays(page) -> None:
    """Press play, see the counter move, pause."""
    page.wait_for_selector(".ka-player-play", timeout=120_000)
    page.wait_for_timeout(1000)
    page.click(".ka-player-play")
    page.wait_for_function("Number(document.querySelector('.ka-player').dataset.step) > 3", timeout=60_000)
    page.click(".ka-player-play")
    page.wait_for_selector(".ka-player[data-doing='']")


def test_the_lecture_is_a_page_without_code(browser, server):
    command = [
        sys.executable, "-m", "voila", str(LECTURE), "--no-browser", "--port={port}", f"--Voila.ip={HERE}",
        "--VoilaConfiguration.show_tracebacks=True",
    ]  # fmt: skip
    with serving(server, command, "/voila/static/favicon.ico") as address, watched_page(browser) as page:
        page.goto(address, timeout=120_000)
        plays(page)
        assert page.locator(".ka-points").count() == 1
        assert "workbench(run" not in page.inner_text("body")


def test_notebook_7_shows_the_same(browser, server):
    cells = [
        nbformat.v4.new_code_cell(
            "from ka_explore import Run, toy\nfrom ka_explore.panels import workbench\n"
            "workbench(Run(toy.digits(), steps=200, snapshot_every=10), show=['player', 'points'])"
        )
    ]
    file = server.notebooks / "seven.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    command = [
        sys.executable, "-m", "notebook", "--no-browser", "--ServerApp.port={port}", f"--ServerApp.ip={HERE}",
        "--ServerApp.token=", "--ServerApp.password=", "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={server.notebooks}",
    ]  # fmt: skip
    with serving(server, command, "/api") as address, watched_page(browser) as page:
        page.goto(f"{address}/notebooks/{file.name}", timeout=60_000)
        page.wait_for_selector(".jp-Cell", timeout=60_000)
        page.wait_for_timeout(3000)
        page.locator(".jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        plays(page)
        page.wait_for_selector(".ka-points[data-painted]")
