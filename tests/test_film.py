"""Films hold exactly the points given, ask for nothing, and work in a browser."""

import base64
import html.parser
import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ka_explore import InputError
from ka_explore.plots import STUDENT, TEACHERS
from ka_explore.plots.film import film_fragment, film_gif, film_html
from ka_explore.probes.results import Points

NASTY = "</script><script>alert(1)</script><!-- & \" ' $x$ \u2028"


def frames(count: int = 3, *, names=("student", "one", "two"), classes=("a", "b"), value: bool = False) -> list[Points]:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(len(names)), 10)
    return [
        Points(
            random.normal(size=(len(group), 2)),
            group,
            tuple(names),
            np.tile(np.arange(10), len(names)),
            label=group * 0 + np.arange(len(group)) % len(classes) if classes else None,
            labels=tuple(classes),
            value=np.where(np.arange(len(group)) % 7, np.arange(len(group)) * 1.0, np.nan) if value else None,
            unit="error" if value else "",
            title=f"common space, step {step}",
            note="a note",
        )
        for step in range(count)
    ]


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def array(data: dict, place: int) -> np.ndarray:
    stored = data["arrays"][place]
    return np.frombuffer(base64.b64decode(stored["data"]), {"float": "<f4", "int": "<i4"}[stored["kind"]])


def test_the_page_holds_every_point_of_every_frame_once():
    shown = frames(value=True)
    data = data_of(film_html(shown))
    for frame, kept in zip(shown, data["frames"], strict=True):
        assert np.array_equal(array(data, kept["xy"]), frame.xy.astype(np.float32).ravel())
        assert np.array_equal(array(data, kept["group"]), frame.group)
        assert np.array_equal(array(data, kept["sample"]), frame.sample)
        assert np.array_equal(array(data, kept["label"]), frame.label)
        assert np.array_equal(array(data, kept["value"]), frame.value.astype(np.float32), equal_nan=True)
        assert kept["title"] == frame.title
    assert len(data["arrays"]) == 3 + 4  # coordinates a frame; groups, samples, labels and values once
    assert data["colours"] == [STUDENT.lower(), *(colour for colour in TEACHERS[:2])]
    assert data["markers"] == ["o", "^", "s"]
    assert data["by"] == ["value", "label", "net"]


def test_the_page_names_no_other_place():
    page = film_html(frames())
    assert not re.search(r"https?:|//[a-z]|@import|fetch\(|XMLHttp|import\s*\(", re.sub(r"//.*|<link[^>]*>", "", page))
    for address in re.findall(r"(?:src|href)=[\"']([^\"']*)", page):
        assert address.startswith("data:")


class Reader(html.parser.HTMLParser):
    """Counts the scripts of a page as a browser would find them."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_no_name_can_end_the_script_or_be_read_as_markup():
    page = film_html(frames(names=("student", NASTY), classes=(NASTY, "b")), title=NASTY)
    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("script") == 2
    data = data_of(page)
    assert data["groups"][1] == data["labels"][0] == data["title"] == NASTY
    assert "<title>&lt;/script&gt;" in page


def test_a_fragment_can_stand_twice_in_a_page():
    part = film_fragment(frames())
    assert "<html" not in part
    assert part.count('class="points-film"') == 1


def test_the_page_is_written_whole(tmp_path):
    path = tmp_path / "film.html"
    page = film_html(frames(), path)
    assert path.read_text(encoding="utf-8") == page
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="no folder"):
        film_html(frames(), tmp_path / "there" / "film.html")


def test_frames_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="at least one frame"):
        film_html([])
    with pytest.raises(InputError, match="frame 3 has the groups"):
        film_html([*frames(), *frames(1, names=("student", "other", "two"))])
    with pytest.raises(InputError, match="seconds=0"):
        film_html(frames(), seconds=0)


def test_a_page_can_be_made_of_points_without_place_class_or_number():
    lost = Points(np.full((2, 2), np.nan), np.arange(2), ("student", "one"), np.arange(2))
    assert data_of(film_html([lost]))["by"] == ["net"]
    unknown = Points(np.zeros((1, 2)), np.zeros(1, int), ("student",), np.zeros(1, int), value=np.array([np.nan]))
    assert data_of(film_html([unknown]))["range"] == [0.0, 1.0]


def test_a_gif_has_a_picture_a_frame(tmp_path):
    path = film_gif(frames(3), tmp_path / "film.gif", seconds=0.25)
    with Image.open(path) as film:
        assert film.n_frames == 3
        assert film.info["duration"] == 250
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="at least one frame"):
        film_gif([], path)
    with pytest.raises(InputError, match=r"\.gif"):
        film_gif(frames(), tmp_path / "film.mp4")


STEPS = """
<pre id="said"></pre><script>
const said = [], root = document.querySelector(".points-film"), canvas = root.querySelector("canvas");
window.addEventListener("error", event => said.push("error " + event.message));
const key = name => canvas.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
const ink = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const inked = () => ink().reduce((a, b) => a + b, 0);
const slider = root.querySelector("input");
said.push(root.dataset.frame, inked() > 0);
const first = inked();
key("ArrowRight"); said.push(root.dataset.frame, slider.value, inked() !== first);
key("ArrowLeft"); key("ArrowLeft"); said.push(root.dataset.frame, inked() === first);
slider.value = 2; slider.dispatchEvent(new Event("input")); said.push(root.dataset.frame);
const select = root.querySelector("select");
select.value = "net"; select.dispatchEvent(new Event("change"));
const entries = () => [...root.querySelectorAll(".points-film-legend button")];
said.push(entries().map(e => e.textContent).join("|"));
const shown = inked();
entries().forEach(e => e.click()); said.push(inked());
entries().forEach(e => e.click()); said.push(inked() === shown);
const box = canvas.getBoundingClientRect();
let tip = root.querySelector(".points-film-tip");
for (let x = 0; x < box.width && tip.hidden; x += 4) for (let y = 0; y < box.height && tip.hidden; y += 4)
  canvas.dispatchEvent(new MouseEvent("mousemove", {clientX: box.left + x, clientY: box.top + y}));
said.push(tip.textContent);
said.push(performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length);
document.getElementById("said").textContent = JSON.stringify(said);
</script>
"""


@pytest.mark.slow
def test_the_page_scrubs_switches_and_tells_in_a_browser(chromium, tmp_path):
    path = tmp_path / "film.html"
    page = film_html(frames(names=("student", "<b>one</b>", "two")), title="title")
    path.write_text(page.replace("</body>", film_fragment(frames()) + STEPS + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    text = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)[1]
    said = json.loads(html.unescape(text))
    assert said[:8] == ["0", True, "1", "1", True, "0", True, "2"]
    assert said[8] == "student|<b>one</b>|two"
    assert said[9:11] == [0, True]
    assert re.fullmatch(r"sample \d · (student|<b>one</b>|two) · class [ab]", said[11])
    assert said[12:] == [0]
    assert done.stdout.count('data-frame="') == 2  # both films of the page were made


OWN = """
<pre id="said"></pre><script>
const said = [], root = document.querySelector(".points-film"), canvas = root.querySelector("canvas");
window.addEventListener("error", event => said.push("error " + event.message));
const ink = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const inked = () => ink().reduce((a, b) => a + b, 0);
const button = [...root.querySelectorAll("button")].find(each => each.textContent === "own axes");
const words = () => root.querySelector(".points-film-note").textContent;
said.push(button.hidden, button.getAttribute("aria-pressed"), words());
const shared = inked();
button.click(); said.push(button.getAttribute("aria-pressed"), words(), inked() !== shared);
const box = canvas.getBoundingClientRect();
const middle = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};
canvas.dispatchEvent(new MouseEvent("mousemove", middle));
said.push(root.querySelector(".points-film-tip").textContent);
button.click(); said.push(words(), inked() === shared);
document.getElementById("said").textContent = JSON.stringify(said);
</script>
"""


def test_frames_on_axes_of_their_own_have_limits_of_their_own():
    first, last = frames(2)
    own = replace(last, xy=100 * last.xy, note="its own", own_axes=True)
    data = data_of(film_html([first, replace(last, own=own)]))
    assert data["limits"] == data_of(film_html(frames(2)))["limits"]
    assert np.array_equal(array(data, data["frames"][1]["own"]["xy"]), (100 * last.xy).astype(np.float32).ravel())
    assert data["frames"][1]["own"]["limits"][0][1] > 10 * data["limits"][0][1]
    assert data["frames"][1]["own"]["note"] == "its own"
    alone = data_of(film_html([own, replace(own, xy=last.xy)]))
    assert alone["limits"] is None
    assert alone["frames"][0]["limits"] != alone["frames"][1]["limits"]
    assert "own" not in alone["frames"][0]


@pytest.mark.slow
def test_own_axes_are_a_click_away_in_a_browser(chromium, tmp_path):
    (frame,) = frames(1)
    middle = np.zeros_like(frame.xy)
    middle[1:] = np.linspace(-50, 50, len(middle) - 1)[:, None]
    own = replace(frame, xy=middle, note="its own", own_axes=True)
    path = tmp_path / "film.html"
    path.write_text(film_html([replace(frame, own=own)]).replace("</body>", OWN + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)[1]))
    assert said[:3] == [False, "false", "a note"]
    assert said[3:6] == ["true", "its own", True]
    assert said[6].startswith("sample 0 · student")
    assert said[7:] == ["a note", True]
