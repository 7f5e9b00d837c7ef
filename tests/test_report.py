"""Reports: everything there is to see is on the page, what is missing is said, and no name can break it."""

import base64
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ka_explore import InputError, Labelled, Pool, Problem, Run, StoreError
from ka_explore.probes.results import Points, heading
from ka_explore.probes.samples import evenly
from ka_explore.problem.pool import Images
from ka_explore.report import write_report
from ka_explore.report.images import answer, misunderstood, said, shown
from ka_explore.report.page import escaped, verbatim
from ka_explore.report.parts import Table
from ka_explore.report.run_report import MOST, RunReport
from ka_explore.report.space import thinned, what_to_draw
from ka_explore.report.stored import NEEDS
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

pytestmark = pytest.mark.slow

SECTIONS = (
    "Problem", "Run", "On the test images", "Embeddings over the steps", "Alignment", "Findings", "The amalgamation",
    "Terms of the loss", "Reconstruction", "Worst images", "MMD by bandwidth",
    "Likeness of layers (CKA)", "Rank and dead channels", "Gradients", "Agreement with the teachers", "Calibration",
    "Whose image it is", "Configuration", "How to reproduce",
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "a \"quoted\" 'name' & $\\frac{1}{0}$",
    "a|b `c` *d* [e](http://evil.example/f) #g",
)
NAMES = ("<script>alert(1)<", "a|b `c` *d* [e](x) #g \"'$_{")  # of teachers, which hold no slash
SMALL = {"steps": 4, "batch_size": 16, "width": 4, "blocks": 1}


class Page(HTMLParser):
    """What a browser makes of a page: tags, addresses, text by section, scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: dict[str, str] = {}
        self.titles: list[str] = []
        self._inside: list[str] = []
        self._script: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.addresses += [v for n, v in attrs if n in ("src", "href", "action", "data", "poster", "srcset")]
        self.anchors |= {v for n, v in attrs if n == "id"}
        self._inside.append(tag)
        if tag == "script":
            self._script = dict(attrs)
            self.scripts.append((dict(attrs), ""))
        if tag == "h3":
            self.titles.append("")

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self._inside:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "h3" in self._inside:
            self.titles[-1] += data
        elif self.titles and "style" not in self._inside:
            self.words[self.titles[-1]] = self.words.get(self.titles[-1], "") + data

    @property
    def films(self) -> list[dict]:
        """The data of the films."""
        return [json.loads(text) for attrs, text in self.scripts if attrs.get("type") == "application/json"]


def safe(page: Page, text: str) -> None:
    """The page asks nothing of anybody, and holds only its own scripts."""
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= page.anchors
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not {"iframe", "object", "embed", "base", "form", "i", "b"} & set(page.tags)
    assert page.tags.count("script") == 2 * len(page.films) + 1  # data and player of each film, and unfolding on paper
    assert all("src" not in attrs for attrs, _ in page.scripts)
    assert not re.search(r"(@import|url\()", text)
    assert "default-src 'none'" in text


@pytest.fixture
def no_figures(monkeypatch):
    """Figures are made and not rendered: what they look like is tested elsewhere, and takes seconds."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"<svg/>") and None)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, teacher, blobs, tiny_student) -> Run:
    """A run whose name, teachers, classes, task and options are written to break a page."""
    labels = [[f"{HOSTILE[0]} {k}", f"{HOSTILE[1]} {k}", f"{HOSTILE[3]} {k}"] for k in range(2)]
    teachers = [
        teacher(name, kind, own, seed=i, task=HOSTILE[2])
        for i, (name, kind, own) in enumerate(zip(NAMES, ("conv", "vector"), labels, strict=True))
    ]
    truth = np.random.default_rng(0).integers(0, 6, 60)
    problem = Problem(
        teachers,
        Pool(blobs(60), labels={HOSTILE[2]: truth}),
        tiny_student,
        test=Labelled(Images(blobs(20, seed=1)), {HOSTILE[2]: truth[:20]}),
        name=HOSTILE[0],
        options={HOSTILE[1]: HOSTILE[3]},
    )
    folder = tmp_path_factory.mktemp("hostile")
    return Run(problem, name=HOSTILE[0], folder=folder / "run", snapshot_every=2, **SMALL).advance(None)


@pytest.fixture(scope="module")
def hostile_page(hostile, tmp_path_factory) -> str:
    """Its report, with real figures."""
    return write_report([hostile], tmp_path_factory.mktemp("page") / "report.html").read_text()


# One run


def test_every_section_is_there_and_in_the_table_of_contents(hostile_page):
    page = Page(hostile_page)
    assert tuple(page.titles) == SECTIONS
    contents = re.search(r"<nav.*?</nav>", hostile_page, re.DOTALL)[0]
    assert [html.unescape(t) for t in re.findall(r'<a href="#section-[\d-]+">(.*?)</a>', contents)] == list(SECTIONS)
    assert [title for title in SECTIONS if not page.words[title].strip()] == []


def test_names_from_users_stay_text(hostile_page):
    page = Page(hostile_page)
    safe(page, hostile_page)
    everything = " ".join(page.words.values())
    for name in HOSTILE + NAMES:
        assert name in everything
    (film,) = page.films
    assert film["groups"][1:] == list(NAMES)
    assert f"common space of {HOSTILE[0]}, PCA" == film["title"]


def test_figures_are_pictures_that_hold_no_script(hostile_page):
    sources = [a for a in Page(hostile_page).addresses if a.startswith("data:image")]
    assert len(sources) > 15
    for source in sources:
        kind, data = source.split(";base64,")
        data = base64.b64decode(data)
        if kind == "data:image/png":
            assert data.startswith(b"\x89PNG")
        else:
            assert kind == "data:image/svg+xml"
            text = data.decode()
            assert not re.search(r"<script|<image[^>]*http|\son\w+=|javascript:", text)


def test_the_film_has_a_frame_a_snapshot_and_the_numbers_of_the_probe(hostile, hostile_page):
    from ka_explore.probes.axes import basis_of
    from ka_explore.probes.linear import pca

    (film,) = Page(hostile_page).films
    assert [f["title"].rpartition(", ")[2] for f in film["frames"]] == ["step 0", "step 2", "step 4"]
    last = film["arrays"][film["frames"][-1]["xy"]]["data"]
    expected = pca(hostile.snapshot(), basis_of(hostile.store)).xy
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(last), "<f4"), expected.astype("<f4").ravel())


def test_the_numbers_are_those_of_the_library(hostile, hostile_page):
    from ka_explore import PROBES, compare, diagnose

    words = Page(hostile_page).words
    joint = next(iter(compare([hostile]).entries[0].joint.values()))
    assert f"{100 * joint:.1f}" in words["On the test images"]
    for share in compare([hostile]).entries[0].pairs.values():
        assert f"{100 * share:.1f}" in words["On the test images"]
    assert "pairs by chance, of the probe set's 60 images" in words["On the test images"]
    for name in ("pairs_found", "class_neighbours", "gap"):
        found = PROBES[name](hostile.snapshot())
        numbers = (*found.values.values(), *found.spread.values(), *found.levels.values())
        assert all(f"{v:.3g}" in words["Alignment"] for v in numbers if np.isfinite(v))
        assert heading(found) in words["Alignment"]
    rank = PROBES["effective_rank"](hostile.snapshot()).values
    assert all(f"{value:.1f}" in words["Rank and dead channels"] for value in rank.values())
    worst = PROBES["worst_reconstructed"](hostile.snapshot()).rows
    found = re.findall(r"image (\d+) of the pool", words["Worst images"])
    assert found == list(worst)
    found = diagnose(hostile)
    assert found.summary in words["Findings"]
    assert all(finding.title in words["Findings"] for finding in found)


def test_options_commands_and_versions(hostile, hostile_page):
    words = Page(hostile_page).words
    for name, value in SMALL.items():
        assert re.search(rf"{name}\s*{value}\s", words["Configuration"])
    assert "blocks1 (not the default)" in words["Configuration"]
    again = words["How to reproduce"]
    assert "--set steps=4 --set batch_size=16" in again
    assert f"ka-explore report {hostile.folder} -o report.html" in again
    assert "torch" in again


def test_a_page_is_small_and_the_same_for_the_same_runs(hostile, hostile_page, tmp_path, no_figures):
    assert len(hostile_page) < 3_000_000
    one = write_report([hostile], tmp_path / "one/report.html").read_bytes()
    assert write_report([hostile], tmp_path / "two/report.html").read_bytes() == one


# Other runs


@pytest.fixture
def page_of(tmp_path, no_figures, monkeypatch):
    """The words of a report by section, of runs of a problem; the page is checked to be safe.

    Films that earlier tests left on the disk are out of sight.
    """
    monkeypatch.setattr("ka_explore.probes.jobs.kept_folder", lambda: tmp_path / "films")

    def make(*runs: Run, **options) -> Page:
        text = write_report(runs, tmp_path / "page.html", **options).read_text()
        page = Page(text)
        safe(page, text)
        return page

    return make


def test_a_report_needs_no_library_that_draws_otherwise(tiny_problem, page_of, monkeypatch):
    monkeypatch.setattr("ka_explore.probes.ways.find_spec", lambda name: None)
    page = page_of(Run(tiny_problem(), snapshot_every=4, **SMALL).advance(None))
    assert len(page.films) == 1


def test_a_run_without_snapshots_says_how_to_get_some(tiny_problem, page_of):
    page = page_of(Run(tiny_problem(), snapshot_every=0, **SMALL).advance(None))
    for title in ("Embeddings over the steps", "Alignment", "Reconstruction", "Agreement with the teachers"):
        assert "snapshot_every=50" in page.words[title]
    (film,) = page.films
    assert len(film["frames"]) == 1


def test_a_run_that_was_not_advanced(tiny_problem, page_of):
    page = page_of(Run(tiny_problem(), **SMALL))
    assert "no step was done yet" in page.words["Terms of the loss"]
    assert tuple(page.titles) == SECTIONS


def test_an_ensemble_has_no_stages_and_says_so(tiny_problem, page_of):
    page = page_of(Run(tiny_problem(), "ensemble"))
    assert "this method trains nothing" in page.words["Terms of the loss"]
    assert "The method ensemble reconstructs no teacher's feature" in page.words["Reconstruction"]
    assert "no common space" in page.words["MMD by bandwidth"]
    assert "nothing to align in" in page.words["Alignment"]
    assert "No gradient was recorded" in page.words["Gradients"]
    assert page.films[0]["groups"] == ["scores"]


def test_an_oracle_is_marked_wherever_it_is_named(tiny_problem, page_of):
    run = Run(tiny_problem(), "oracle", name="top", steps=3, batch_size=16, snapshot_every=1).advance(None)
    page = page_of(run)
    assert all("top (oracle: trained on true labels)" in page.words[title] for title in ("Run", "On the test images"))


def test_a_problem_without_labels_and_test_images(tiny_problem, page_of):
    run = Run(tiny_problem(labels=False, test=0), snapshot_every=2, **SMALL).advance(None)
    page = page_of(run)
    assert "no labelled test images" in page.words["On the test images"]
    assert "true classes unknown" in page.words["Problem"]
    assert "true class" not in page.words["Worst images"]
    assert (page.films[0]["legend"], page.films[0]["labels"]) == ("claimed by", list(run.problem.names))


@pytest.mark.parametrize("method", ["adaptive", "logit_space"])
def test_methods_of_several_stages(method, tiny_problem, page_of):
    run = Run(tiny_problem(overlap=method == "adaptive"), method, steps=12, batch_size=16, snapshot_every=1)
    page = page_of(run.advance(None))
    assert tuple(page.titles) == SECTIONS
    if method == "adaptive":
        assert "the other stages" in page.words["The amalgamation"]


@pytest.fixture
def layer_wise(teacher, tiny_student, blobs):
    """A run of the layer-wise method, advanced to its end."""

    def make(every: int) -> Run:
        teachers = [teacher(str(i), labels=[f"{k} of {i}" for k in range(3)], seed=i) for i in range(2)]
        problem = Problem(teachers, Pool(blobs(60)), tiny_student)
        return Run(problem, "layer_wise", steps=12, batch_size=16, snapshot_every=every).advance(None)

    return make


def test_a_method_that_reconstructs_layer_by_layer(layer_wise, page_of):
    page = page_of(layer_wise(1))
    assert tuple(page.titles) == SECTIONS
    assert "Of the 60 images of the probe set" in page.words["Worst images"]
    assert "This method has no common space" in page.words["Embeddings over the steps"]


def test_worst_images_of_a_stage_that_no_snapshot_shows(layer_wise, page_of):
    run = layer_wise(12)
    page = page_of(run)
    assert "snapshot_every=1" in page.words["Reconstruction"]
    assert "No snapshot of a stage that reconstructs" in page.words["Worst images"]


def test_several_runs_are_compared_first_and_told_one_by_one(tiny_problem, page_of, tmp_path):
    problem = tiny_problem()
    base = Run(problem, name="same", folder=tmp_path / "base", snapshot_every=2, **SMALL).advance(None)
    fork = base.fork("fork", at=2, mmd_weight=0.0).advance(None)
    plain = Run(problem, "distillation", name="same", steps=4, batch_size=16, snapshot_every=2).advance(None)
    page = page_of(base, fork, plain)
    assert page.titles[:4] == ["Problem", "Runs", "On the test images", "The runs compared"]
    assert page.titles[4:7] == ["Embeddings over the steps", "Alignment", "Findings"]
    assert page.titles.count("Findings") == 3
    assert [film["title"].split(" of ")[1] for film in page.films][:2] == ["same (1), PCA", "fork, PCA"]
    assert "same at step 2" in page.words["Runs"]
    assert "same (3)" in page.words["Runs"]
    assert "ka-explore fork runs/same fork --at 2 --set mmd_weight=0" in page.words["How to reproduce"]


def test_a_fork_says_what_changed_and_shares_the_axes_of_the_runs_beside_it(tiny_problem, page_of, tmp_path):
    base = Run(tiny_problem(), folder=tmp_path / "base", snapshot_every=1, **SMALL).advance(None)
    fork = base.fork("fork", at=2, mmd_weight=0.0).advance(None)
    assert "From step 2 on: mmd_weight=0" in page_of(fork).words["Configuration"]
    first, second = page_of(base, fork).films
    assert "of 2 runs" in first["frames"][0]["note"]
    for step in range(3):  # the common past lies at the same places
        mine, parents = (film["arrays"][film["frames"][step]["xy"]]["data"] for film in (first, second))
        assert mine == parents


def test_stills_on_class_axes_stand_below_the_film(hostile_page):
    page = Page(hostile_page)
    assert "on class axes" in page.words["Embeddings over the steps"]
    assert len(page.films) == 1


@pytest.mark.slow
def test_tsne_is_drawn_when_asked_for_and_when_it_lies_on_the_disk(tiny_problem, page_of):
    run = Run(tiny_problem(), snapshot_every=2, **SMALL).advance(None)
    assert len(page_of(run).films) == 1
    asked = page_of(run, embedding="tsne").films
    assert [film["title"].rpartition(", ")[2] for film in asked] == ["PCA", "t-SNE"]
    assert [f["title"] for f in page_of(run).films] == [f["title"] for f in asked]


def test_a_rewound_run_is_told_of_as_it_was(tiny_problem, page_of):
    run = Run(tiny_problem(), snapshot_every=1, **SMALL).advance(None).rewind(2)
    page = page_of(run)
    assert "2 of 4" in page.words["Run"]
    assert len(page.films[0]["frames"]) == 3


def test_a_damaged_snapshot_is_left_out_and_named(tiny_problem, page_of, tmp_path):
    run = Run(tiny_problem(), folder=tmp_path / "run", snapshot_every=1, **SMALL).advance(None)
    (run.folder / "snapshots/000002.npz").write_bytes(b"no")
    page = page_of(run)
    assert "000002.npz cannot be read" in page.words["Left out"]
    assert len(page.films[0]["frames"]) == 4


# Markdown


def test_markdown_shows_names_as_they_are_and_has_its_figures_beside_it(hostile, tmp_path, no_figures):
    text = write_report([hostile], tmp_path / "deep/my page.md", kind="md").read_text()
    assert not re.search(r"<(script|img|i)\b", text)
    figures = re.findall(r"!\[(?:[^\]\\]|\\.)*\]\((.*?)\)", text)
    assert len(figures) > 15
    assert all((tmp_path / "deep" / figure).is_file() for figure in figures)
    assert len(list((tmp_path / "deep/my-page-figures").iterdir())) == len(figures)
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"my page.md", "my-page-figures"}
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert [re.sub(r"\\(.)", r"\1", title) for title in titles] == list(SECTIONS)
    bars = [re.findall(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    assert all(len(found) > 1 for found in bars)


def test_markdown_is_read_as_text_by_a_parser(hostile, tmp_path, no_figures):
    markdown = pytest.importorskip("markdown_it", reason="pip install markdown-it-py")
    text = write_report([hostile], tmp_path / "page.md", kind="md").read_text()
    page = Page(markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert not {"script", "iframe", "i", "b"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(not address.startswith("http") for address in page.addresses)
    assert page.tags.count("table") > 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a_b*c`d`", r"a\_b\*c\`d\`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines", "two lines"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("$x$", r"\$x\$"),
        ("0.5", "0.5"),
    ],
)
def test_text_as_markdown(text, expected):
    assert escaped(text) == expected


def test_code_as_markdown():
    assert verbatim("a\nb") == "    a\n    b"
    assert verbatim("a '<b>'") == "<pre><code>a '&lt;b&gt;'\n</code></pre>"


# Parts


def test_images_are_enlarged_as_they_are_and_brought_to_0_to_1():
    picture = shown(np.array([[[0.0, 1.0], [0.5, 0.25]]]), "x")
    image = Image.open(io(picture.data))
    assert image.size == (112, 112)
    assert [image.getpixel(p) for p in ((0, 0), (111, 0), (0, 111), (111, 111), (55, 55))] == [0, 255, 128, 64, 0]
    colours = Image.open(io(shown(np.stack([np.full((300, 600), v) for v in (-1.0, 0.0, 3.0)]), "x").data))
    assert colours.size == (224, 112)
    assert colours.getpixel((5, 5)) == (0, 64, 255)
    assert Image.open(io(shown(np.ones((5, 3, 3)), "x").data)).mode == "L"


def io(data: bytes):
    from io import BytesIO

    return BytesIO(data)


def looked_at(scores, logits, labels=None) -> Snapshot:
    """A snapshot of one teacher that knows two of three classes."""
    return Snapshot(
        step=0, stage="", index=np.arange(len(scores)), labels=labels, classes=(("t", "a"), ("t", "b"), ("t", "c")),
        knows={"one": (2, 0)}, arrays={"scores": np.array(scores), "logits/one": np.array(logits)},
    )  # fmt: skip


def test_what_nets_say_of_an_image():
    snapshot = looked_at([[0.0, np.log(2), 0.0]], [[np.log(3), 0.0]], {"t": np.array([-1])})
    assert said(snapshot, 0) == {"true class": "not known", "student": "b (50 %)", "one": "c (75 %)"}
    assert answer(np.array([np.nan, 1.0]), ("a", "b")) == "not finite"


def test_the_images_that_the_student_understands_least():
    scores = [[0.0, 9.0, 0.0], [0.0, 0.0, 5.0], [5.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]
    logits = [[5.0, 0.0]] * 4  # the teacher is sure of c
    places, why = misunderstood(looked_at(scores, logits), 3)
    assert places == [2, 0]
    assert why[0] == "one is surer by 99 points"


def test_columns_of_numbers_stand_to_the_right():
    rows = [["1", "2", "–", "a", "3"], ["2", "1,000", "–", "1", "-0.5e-3"]]
    assert Table(["w", "x", "y", "z", "v"], rows).numbers == {1, 4}


def test_what_is_thinned_keeps_first_and_last_and_whole_images():
    assert evenly([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    count = 100
    sample = np.tile(np.arange(count), 2)
    points = Points(np.random.rand(200, 2), np.repeat([0, 1], count), ("student", "t"), sample, label=sample % 3)
    small = thinned(points, 10)
    assert len(small.xy) == 20
    assert np.array_equal(small.sample[:10], small.sample[10:])
    assert {small.sample[0], small.sample[9]} == {0, 99}
    assert thinned(points, 100) is points


def test_many_snapshots_are_thinned_evenly(tiny_problem):
    run = Run(tiny_problem(), "distillation", steps=60, batch_size=8, snapshot_every=1).advance(None)
    steps = [snapshot.step for snapshot in RunReport(run).snapshots]
    assert len(steps) == MOST
    assert (steps[0], steps[-1]) == (0, 60)
    assert max(np.diff(steps)) <= 2


def test_of_a_space_that_few_snapshots_have_the_next_is_drawn(layer_wise):
    of, snapshots = what_to_draw(RunReport(layer_wise(1)).snapshots)
    assert of == "feature/student/features"
    assert len(snapshots) == 13


# What goes wrong


def test_what_cannot_be_reported_is_said_before_any_work(tiny_problem, tmp_path):
    run = Run(tiny_problem(test=0), "ensemble")
    with pytest.raises(InputError, match="at least one run"):
        write_report([], tmp_path / "x.html")
    with pytest.raises(InputError, match="unknown format 'pdf'"):
        write_report([run], tmp_path / "x.pdf", kind="pdf")
    with pytest.raises(InputError, match="Did you mean 'tsne'"):
        write_report([run], tmp_path / "x.html", embedding="t-sne")
    with pytest.raises(InputError, match="different problems"):
        write_report([run, Run(tiny_problem(test=0, seed=3), "ensemble")], tmp_path / "x.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_report([run], tmp_path / "file/x.html")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


# What is stored


def test_a_report_of_what_is_stored_has_every_section_and_says_what_it_lacks(tiny_problem, tmp_path, no_figures):
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    runs = [
        Run(problem, name=name, folder=tmp_path / name, snapshot_every=2, **SMALL).advance(None) for name in ("a", "b")
    ]
    whole, stored = tmp_path / "whole.html", tmp_path / "stored.html"
    write_report(runs, whole)
    write_report([Store(run.folder) for run in runs], stored)
    pages = [Page(path.read_text()) for path in (whole, stored)]
    safe(pages[1], stored.read_text())
    assert pages[1].titles == pages[0].titles
    lacking = {title for title, words in pages[1].words.items() if NEEDS in words}
    assert lacking == {"Problem", "On the test images", "The amalgamation"}
    for title in ("Terms of the loss", "Agreement with the teachers", "Calibration", "How to reproduce", "Runs"):
        assert pages[1].words[title].replace("4 of 4", "4") == pages[0].words[title].replace("4 of 4", "4").replace(
            "whole.html", "stored.html"
        )
    assert "student" in pages[1].words["Worst images"]
    assert "width" in pages[1].words["Configuration"]
    assert len(pages[1].films) == len(pages[0].films)


def test_a_report_of_a_folder_without_snapshots_says_what_it_needs(tiny_problem, tmp_path, no_figures):
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    run = Run(problem, folder=tmp_path / "a", snapshot_every=0, **SMALL).advance(2)
    run.save()
    with pytest.raises(InputError, match=r"no snapshot is stored in .*a: a report of it needs its problem"):
        write_report([Store(run.folder)], tmp_path / "page.html")
    other = Run(tiny_problem(images=30, shape=(1, 8, 8), seed=3), folder=tmp_path / "b", **SMALL).advance(2)
    with pytest.raises(InputError, match="are of different problems"):
        write_report([run, Store(other.folder)], tmp_path / "page.html")
