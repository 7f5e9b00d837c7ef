"""Whatever is handed to any other public function works, or one of our errors says why not; none is left out.

Problems and their parts are in test_bad_input.py, teachers in test_teacher_doors.py, runs and what is about them in
test_doors_of_runs.py.
"""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from matplotlib.figure import Figure
from strange import strange

import ka_explore
from ka_explore import METHODS, PROBES, InputError, KaError, LabelSpace, Run, Snapshot, Stage, diagnosis, plots
from ka_explore import toy as toy_problems
from ka_explore.benchmark import trial as trials
from ka_explore.benchmark.evaluate import Entry, References
from ka_explore.cli import main, make_parser
from ka_explore.diagnosis import Attempt, Evidence, Finding, Findings, Threshold
from ka_explore.plots.film import film_fragment, film_html
from ka_explore.probes import axes, embedding, jobs
from ka_explore.probes.over_steps import first_answer, over_steps
from ka_explore.probes.results import Box, Curves, Diagram, Distribution, Matrix, Points, Scalars
from ka_explore.report import demo_figure
from ka_explore.report.parts import Chapter
from ka_explore.toy import building, multitask, problems, shared

Door = tuple[Callable[..., Any], Mapping[str, Any]]
Doors = Mapping[str, Door]

WORDS = ("title", "unit", "note", "across", "legend", "text", "name")  # drawn in test_plots.py, whatever they are


def made(samples: int = 3, step: int = 0) -> Snapshot:
    """A snapshot that has something for every probe, of so few images that t-SNE and UMAP leave them to PCA."""
    random = np.random.default_rng(step)
    nets, teachers = ("student", "one", "two"), ("one", "two")
    arrays = {"scores": random.normal(size=(samples, 4)), "neighbours": np.zeros((samples, 2), np.int64)}
    arrays |= {f"{what}/{net}": random.random((samples, 3)) for what in ("common", "feature") for net in nets}
    arrays = {name + ("/last" if name.startswith("feature/") else ""): array for name, array in arrays.items()}
    arrays |= {"logits/student": random.random((samples, 4)), "selected/class": np.zeros(samples)}
    arrays |= {f"logits/{teacher}": random.random((samples, 2)) for teacher in teachers}
    arrays |= {f"channel_error/{teacher}": random.random((samples, 3)) for teacher in teachers}
    rows = [f"{what}/{teacher}" for what in ("error", "entropy", "weight", "claim/target") for teacher in teachers]
    rows += ["gradient/soft", "gradient/mmd", "along/soft", "along/mmd", "bridge/one/conv"]
    arrays |= {row: random.random(samples) for row in rows}
    arrays |= {f"{what}/conv": random.random((samples, 3)) for what in ("code", "regressed")}
    classes = tuple(("class", name) for name in "abcd")
    labels, knows = {"class": np.arange(samples) % 4}, {"one": (0, 1), "two": (2, 3)}
    return Snapshot(step, "joint", np.arange(samples), labels, classes, knows, arrays, "soft")


SNAPSHOT, LATER = made(), made(step=1)
PICTURE = embedding.pca(SNAPSHOT)
TERMS = {"soft": 0.5, "mmd": 0.5}
ROWS = [{"step": step, "stage": "joint", "loss": 1.0, "rate": 0.1, "terms": TERMS} for step in (1, 2)]
LINES = {"one": np.arange(3.0)}
SHAPES: Mapping[type, Mapping[str, Any]] = {
    Scalars: {
        "values": {"one": 1.0}, "unit": "", "title": "", "note": "", "spread": {"one": 0.1}, "levels": {"a": 1.0},
        "step": 1,
    },
    Matrix: {
        "values": np.eye(2), "rows": ("a", "b"), "columns": ("c", "d"), "unit": "", "title": "", "centre": 0.0,
        "note": "", "step": 1,
    },
    Points: {name: getattr(PICTURE, name) for name in Points.__dataclass_fields__} | {"value": np.zeros(9)},
    Distribution: {"values": LINES, "unit": "", "title": "", "note": "", "step": 1},
    Curves: {
        "x": LINES, "y": LINES, "across": "step", "unit": "", "title": "", "levels": {"a": 1.0}, "marks": {"b": 1.0},
        "log": (False, True), "note": "", "step": 1,
    },
    Diagram: {"boxes": (Box("a", "images"), Box("b", "loss")), "arrows": (("a", "b", ""),), "title": "", "step": None},
}  # fmt: skip
RESULTS = {kind: kind(**right) for kind, right in SHAPES.items()}


# The tables: by a public name, the function and what is right by argument.


def of_results() -> Doors:
    doors: dict[str, Door] = {f"probes.results.{kind.__name__}": (kind, right) for kind, right in SHAPES.items()}
    box = {"name": "a", "kind": "images", "state": "frozen", "text": "", "teacher": ""}
    fields = {name: getattr(SNAPSHOT, name) for name in Snapshot.__dataclass_fields__}
    return doors | {
        "probes.results.Box": (Box, box),
        "run.snapshot.Snapshot": (Snapshot, fields),
        "run.snapshot.Snapshot.group": (SNAPSHOT.group, {"prefix": "common"}),
    }


def of_probes() -> Doors:
    doors = {}
    for name, probe in PROBES.items():
        parameters = inspect.signature(probe).parameters.values()
        doors[f"PROBES[{name}]"] = (probe, {p.name: p.default for p in parameters} | {"snapshot": SNAPSHOT})
    return doors


def of_embeddings() -> Doors:
    one, both = {"snapshot": SNAPSHOT, "space": "common"}, {"snapshots": [SNAPSHOT, LATER], "space": "common"}
    basis = embedding.fit_basis(SNAPSHOT)
    tsne = {"start": PICTURE, "perplexity": 30.0, "iterations": 250, "exaggeration": 12.0, "seed": 0}
    umap = {"neighbours": 15, "min_dist": 0.1, "epochs": 10, "seed": 0}
    return {
        "probes.embedding.fit_basis": (embedding.fit_basis, both | {"kind": "pca"}),
        "probes.embedding.pca": (embedding.pca, one | {"basis": basis, "quality": False}),
        "probes.embedding.class_axes": (embedding.class_axes, one | {"basis": None, "quality": False}),
        "probes.embedding.tsne": (embedding.tsne, one | tsne),
        "probes.embedding.umap": (embedding.umap, one | umap | {"start": None}),
        "probes.embedding.aligned_umap": (embedding.aligned_umap, both | umap | {"alignment": 0.1, "window": 3}),
        "probes.embedding.film": (embedding.film, both | {"how": "tsne", "perplexity": 30.0}),
        "probes.embedding.published": (embedding.published, one | {"task": None, "perplexity": 30.0}),
        "probes.embedding.announced_seconds": (
            embedding.announced_seconds, {"how": "tsne", "samples": 100, "frames": 1}
        ),
        "probes.embedding.colour": (
            embedding.colour, {"points": PICTURE, "snapshot": SNAPSHOT, "by": "agreement", "task": None}
        ),
        "probes.embedding.join_pairs": (embedding.join_pairs, {"points": PICTURE, "images": 2, "seed": 0}),
        "probes.embedding.pair_length": (embedding.pair_length, one),
        "probes.embedding.rows_of": (embedding.rows_of, one | {"normalise": True}),
        "probes.embedding.spaces": (embedding.spaces, {"snapshot": SNAPSHOT}),
        "probes.embedding.procrustes": (embedding.procrustes, {"points": PICTURE, "onto": embedding.pca(LATER)}),
        "probes.jobs.embed": (jobs.embed, both | {"how": "tsne", "start": None, "perplexity": 30.0}),
        "probes.jobs.kept": (jobs.kept, both | {"how": "tsne"}),
        "probes.over_steps.over_steps": (over_steps, {"probe": PROBES["cka"], "snapshots": [SNAPSHOT], "batch": 256}),
        "probes.over_steps.first_answer": (first_answer, {"probe": PROBES["cka"], "snapshots": [SNAPSHOT]}),
    }  # fmt: skip


def of_plots(folder: Path) -> Doors:
    points = {"legend": 1, "limits": ((0, 1), (0, 1)), "range_": (0, 1), "bar": True, "own_axes": True}
    options: Mapping[type, Mapping[str, Any]] = {
        Matrix: {"limits": (0, 1), "bar": True}, Points: points,
        Distribution: {"edges": np.arange(3), "colours": None, "legend": True},
        Curves: {"nets": ("one",), "colours": {"one": "red"}, "legend": None},
    }  # fmt: skip
    doors: dict[str, Door] = {
        f"plots.draw_{kind.__name__.lower()}": (
            getattr(plots, f"draw_{kind.__name__.lower()}"), {"result": result, "ax": None} | options.get(kind, {})
        )
        for kind, result in RESULTS.items()
    }  # fmt: skip
    nets, some = {"net": "one", "nets": ("student", "one")}, [PICTURE]
    return doors | {
        "plots.draw": (lambda result, ax: plots.draw(result, ax), {"result": RESULTS[Scalars], "ax": None}),
        "plots.colour_of": (plots.colour_of, nets),
        "plots.marker_of": (plots.marker_of, nets),
        "plots.class_colours": (plots.class_colours, {"count": 3}),
        "plots.label_colours": (plots.label_colours, {"labels": ("student", "one"), "legend": "net"}),
        "plots.plain": (plots.plain, {"text": "a"}),
        "plots.smooth": (plots.smooth, {"values": [1.0, 2.0], "window": 9}),
        "plots.draw_history": (plots.draw_history, {"histories": {"one": ROWS}, "term": "soft", "ax": None}),
        "plots.draw_history(rows)": (lambda rows: plots.draw_history({"one": rows}, "soft"), {"rows": ROWS}),
        "plots.draw_history(row)": (
            lambda **row: plots.draw_history({"one": [*ROWS, {**ROWS[0], **row}]}, "soft"), ROWS[0]
        ),
        "plots.draw_terms": (plots.draw_terms, {"rows": ROWS, "ax": None, "title": ""}),
        "plots.draw_steps": (plots.draw_steps, {"frames": some, "figure": None, "own_axes": True}),
        "plots.draw_comparison": (
            plots.draw_comparison, {"results": {"one": RESULTS[Scalars], "two": RESULTS[Scalars]}, "figure": None}
        ),
        "plots.figure_for": (plots.figure_for, {"results": RESULTS[Scalars], "size": "page"}),
        "plots.save": (plots.save, {"figure": Figure((1, 1)), "path": folder / "a.png", "dpi": 20}),
        "plots.save_film": (plots.save_film, {"frames": some, "path": folder / "a.gif", "seconds": 1, "title": ""}),
        "plots.replacing": (
            lambda path, ending: plots.replacing(path, ending=ending).__enter__(),
            {"path": folder / "b", "ending": ".part"},
        ),
        "plots.film.film_html": (
            film_html, {"frames": some, "path": folder / "a.html", "title": "", "seconds": 1}
        ),
        "plots.film.film_fragment": (film_fragment, {"frames": some, "title": "", "seconds": 1}),
    }  # fmt: skip


def of_problems_and_methods(net: Any) -> Doors:
    """Nothing is trained here: `nothing_begins` stands in for what would."""
    labels = LabelSpace.of({"one": ("class", "ab")})
    asked = dict.fromkeys(("unlabelled", "labelled", "label_noise")) | {"seed": 0, "validation": False}
    doors: dict[str, Door] = {f"toy.{name}": (problem, asked) for name, problem in toy_problems.PROBLEMS.items()}
    doors |= {
        f"METHODS[{name}].configure": (METHODS[name].configure, {"form": None, "options": {}}) for name in METHODS
    }
    trial = {
        "problem": "digits", "options": {}, "tasks": None, "candidates": trials.DEFAULT, "seeds": (0,), "folder": None,
        "jobs": 1, "snapshot_every": 0, "skip_refused": False, "kept": None, "progress": None,
    }  # fmt: skip
    return doors | {
        "toy.mnist(preset)": (lambda preset: toy_problems.mnist(preset), {"preset": "plenty"}),
        "toy.pretrained(size)": (lambda size: toy_problems.pretrained(size=size), {"size": 64}),
        "toy.sprite_images": (toy_problems.sprite_images, {"count": 1, "size": 12, "seed": 0}),
        "toy.broken": (toy_problems.broken, {"name": "first", "seed": 0}),
        "toy.broken_answer": (toy_problems.broken_answer, {"name": "first"}),
        "toy.student": (toy_problems.student, {"labels": labels, "channels": 1, "width": 1.0}),
        "benchmark.trial.trial": (trials.trial, trial),
        "benchmark.trial.Candidate": (
            trials.Candidate, {"label": "a", "method": "distillation", "form": None, "options": {}}
        ),
        "benchmark.trial.Trial.from_dict": (trials.Trial.from_dict, {"found": TRIAL.to_dict()}),
        "benchmark.trial.table": (trials.table, {"result": TRIAL, "each": False}),
        "Stage": (
            Stage,
            {
                "name": "a", "forward": lambda batch: None, "trains": (net(),), "steps": 1, "weights": {"soft": 1.0},
                "soft_term": "soft", "rates": (), "begin": None, "finish": None, "changes": (),
            },
        ),
    }  # fmt: skip


ENTRY = Entry("a", "distillation", False, 0, 1, {"class": 1.0}, {"one": 1.0}, {"one": 1.0}, 1.0, 1)
TEACHERS = References({"one": 1.0}, {"class": 1.0}, {"class": 1.0})
TRIAL = trials.Trial("digits", {}, (0,), {"distillation": {0: ENTRY}}, {0: TEACHERS})


def of_diagnosis(run: Run) -> Doors:
    attempt, finding = Attempt("Try.", {"temperature": 2.0}), Finding("x", "X", "note", 1.0, {"a": 1.0})
    evidence = Evidence({}, ROWS, [SNAPSHOT])
    return {
        "diagnosis.judge": (diagnosis.judge, {"evidence": evidence}),
        "diagnosis.Evidence": (Evidence, {name: getattr(evidence, name) for name in Evidence.__dataclass_fields__}),
        "diagnosis.Attempt": (Attempt, vars(attempt)),
        "diagnosis.Attempt.fork": (lambda run, name: attempt.fork(run, name), {"run": run, "name": "a fork"}),
        "diagnosis.Attempt.python": (attempt.python, {"name": "a"}),
        "diagnosis.Attempt.command": (attempt.command, {"folder": "a", "name": "a"}),
        "diagnosis.Finding": (Finding, vars(finding)),
        "diagnosis.Findings": (Findings, vars(Findings((finding,)))),
        "diagnosis.Threshold": (Threshold, vars(next(iter(diagnosis.THRESHOLDS.values())))),
        "report.demo_figure": (demo_figure, {"run": run, "result": TRIAL}),
        "probes.axes.basis_of": (axes.basis_of, {"stores": [run.store], "space": "common", "kind": "pca"}),
        "cli.make_parser": (make_parser, {"only": "run"}),
        "cli.main": (main_of, {"arguments": ["list", str(run.folder)]}),
    }


def main_of(arguments: Any) -> None:
    """The command line, whose end is not the test's."""
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code in (0, 2)  # noqa: PT017 - argparse's


def of_the_workbench(run: Run) -> Doors:
    panels = pytest.importorskip("ka_explore.panels")
    bench = panels.workbench(run, show=["player", "points", "findings"])
    bench.advance(2)

    def anew(run: Any, **options: Any) -> None:
        with panels.workbench(run, **options):
            pass

    right = {"run": run, "show": ["player"], "layout": "laptop", "problem": None}
    return {
        "workbench.advance": (bench.advance, {"n": 0}),
        "workbench.rewind": (bench.rewind, {"step": 0}),
        "workbench.fork": (bench.fork, {"name": "one", "at": 0, "temperature": 2.0}),
        "workbench.show": (lambda name: bench.show(name), {"name": run.name}),
        "workbench.view": (bench.view, {"how": "pca", "own_axes": False}),
        "workbench.colour": (bench.colour, {"by": "net"}),
        "workbench.select": (bench.select, {"samples": [0]}),
        "workbench": (anew, right),
    }


# What is asked of all of them.


def check(doors: Doors, used: Callable[[str, Any], None] = lambda *_: None) -> None:
    """Every argument takes strange values, or refuses them by an error of ours; and some it refuses."""
    found = []
    for door, (function, right) in doors.items():
        used("", function(**right))
        refused = 0
        for argument in right:
            for what, value in strange(2, 1, 8, 8).items():
                try:
                    used(argument, function(**{**right, argument: value}))
                except KaError as error:
                    refused += 1
                    if not 10 < len(str(error)) < 3000:
                        found.append(f"{door}({argument}={what}): a message of {len(str(error))} letters")
                except Exception as error:
                    found.append(f"{door}({argument}={what}): {type(error).__name__}: {str(error)[:150]}")
        if right and not refused:
            found.append(f"{door}: refused nothing")
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def problem(tiny_problem):
    return tiny_problem(images=16, shape=(1, 8, 8), test=8, probe=4)


@pytest.fixture
def run(problem, tmp_path, monkeypatch) -> Run:
    monkeypatch.chdir(tmp_path)
    options = {"steps": 4, "batch_size": 8, "snapshot_every": 1, "width": 4}
    return Run(problem, "common_feature", folder=tmp_path / "run", **options).advance(2)


@pytest.fixture
def nothing_begins(monkeypatch):
    """No net is trained, no row of a trial computed, no process started."""

    def ended(*_: Any, **__: Any) -> None:
        raise InputError("here it would begin")

    monkeypatch.setattr(building, "teach", ended)
    for where, loads in ((problems, "mnist_pictures"), (problems, "fashion_pictures"), (shared, "mnist_pictures")):
        monkeypatch.setattr(where, loads, ended)  # what is asked of all is checked before, and of digits in full
    monkeypatch.setattr(multitask, "draw", ended)
    monkeypatch.setattr(trials, "kept_rows", ended)
    monkeypatch.setattr(jobs.Embedding, "_begin", lambda *_: None)


def test_results_and_snapshots_are_whole_or_are_not_made():
    def used(argument: str, made: Any) -> None:
        if isinstance(made, Snapshot):
            for probe in PROBES.values():
                try:
                    probe(made)
                except KaError:
                    continue
        elif not isinstance(made, (Box, dict)):
            made.table()
            made.to_pandas()
            if argument not in WORDS:
                plots.draw(made)

    check(of_results(), used)


def test_probes():
    check(of_probes())


@pytest.mark.usefixtures("nothing_begins")
def test_embeddings():
    check(of_embeddings())


def test_plots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ka_explore.plots.saving.FuncAnimation", MagicMock())  # a film takes a third of a second
    check(of_plots(tmp_path))


@pytest.mark.usefixtures("nothing_begins")
def test_problems_and_methods(net):
    doors = of_problems_and_methods(net)
    ending = [name for name in doors if name.startswith("toy.") or name == "benchmark.trial.trial"]

    def begun(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(**given: Any) -> None:
            try:
                function(**given)
            except InputError as error:
                if str(error) != "here it would begin":
                    raise

        return called

    check({name: (begun(f) if name in ending else f, right) for name, (f, right) in doors.items()})


def test_diagnosis_and_reports(run):
    check(of_diagnosis(run))


def test_the_workbench(run):
    check(of_the_workbench(run))


# Where shapes stand in type hints the tests' own check of shapes would refuse first: a process without it.

TORCH = """
import sys, warnings
sys.path[:0] = sys.argv[1:]
warnings.simplefilter("ignore")
from test_doors_elsewhere import check, of_torch
check(of_torch())
"""


def of_torch() -> Doors:
    import torch
    from torch import nn

    from ka_explore import Pool, Problem, Student, Teacher, export_student, load_student
    from ka_explore.problem import targets

    images = torch.rand(2, 1, 8, 8)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    teacher = Teacher("one", net, layers=["0"], labels="ab")
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    chain = Student.chain({"first": nn.Conv2d(1, 4, 3)}, {"class": head})
    run = Run(Problem([teacher], Pool(images), lambda _: chain), "distillation", steps=1, snapshot_every=0)
    labels = run.problem.labels
    logits, features = {"one": torch.rand(2, 2)}, {"one": torch.rand(2, 4)}
    given = {"labels": labels, "logits": logits}
    asked = given | {"features": features, "images": images}
    bases = embedding.fit_basis(SNAPSHOT)
    return {
        "a student": (chain, {"images": images}),
        "a wrapped student": (Student.of(net, layers=["0"], labels=labels), {"images": images}),
        "a loaded student": (load_student(export_student(run, run.folder / "student")), {"images": images}),
        "LabelSpace.stack": (labels.stack, {"logits": logits}),
        "LabelSpace.stack(logits)": (lambda one: labels.stack({"one": one}), {"one": logits["one"]}),
        "LabelSpace.merge": (labels.merge, {"scores": logits["one"]}),
        "targets.own_answers": (targets.own_answers, given),
        "targets.standardised": (targets.standardised, given),
        "targets.consistent": (targets.consistent, asked),
        "targets.consistent(of one)": (
            lambda z, f: targets.consistent(labels, {"one": z}, {"one": f}, None),
            {"z": logits["one"], "f": features["one"]},
        ),
        "targets.make_targets": (targets.make_targets, asked | {"kind": "consistent"}),
        "probes.embedding.Basis": (embedding.Basis, vars(bases)),
    }  # fmt: skip


def test_what_takes_tensors():
    folder = Path(__file__).parent
    command = [sys.executable, "-c", TORCH, str(folder), str(folder / "shared")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-5000:]


def test_a_student_takes_any_floats_as_they_are_and_says_what_it_cannot_take(tiny_problem):
    import torch

    problem = tiny_problem(images=8, shape=(3, 8, 8))
    student, images = problem.make_student().eval(), problem.pool.images[:2]
    for same in (images.double(), images.to(torch.float64).requires_grad_()):
        assert torch.allclose(student(same).logits, student(images).logits)
    for wrong, words in (
        (images.numpy(), r"a plain tensor of floats .* got of shape \(2, 3, 8, 8\) \(ndarray\); Run.predict"),
        ((255 * images).byte(), "a plain tensor of floats"),
        (images[0], "a plain tensor of floats"),
        (images[:, :1], "the student cannot take images of shape .1, 8, 8.*RuntimeError: .*channels"),
    ):
        with pytest.raises(InputError, match=words):
            student(wrong)


# The command line.

ODD = ("", "nan", "-1", "1e999", "9" * 5000, "a/b", "..", "\udc80", "a\0b", "[" * 5000, "null", "=")


def commands(folder: str) -> list[list[str]]:
    """Commands with an odd word, here ``{}``, in every place."""
    lines = (
        "list {}", "diagnose {}", "probe {}", "report {}", "compare {}", "resume {}", "fork {} new", "export {} new",
        "probe R {}", "probe R cka --step {}", "probe R cka --option batch={}", "probe R cka --option space={}",
        "probe R reliability --option bins={}", "probe R worst_channels --option count={}", "probe R cka --option {}",
        "probe R cka --format {}", "plot R {}", "plot R mmd -o {}", "plot R mmd -o {}.png", "plot R mmd --size {}",
        "plot R film -o {}", "plot R film --option space={}", "report R -o {}", "report R --embedding {}",
        "run {}", "run digits {}", "run digits --set {}", "run digits --set steps={}", "run digits --option seed={}",
        "run digits --option {}=1", "methods {}", "trial {}", "trial digits --methods {}", "trial digits --jobs {}",
        "trial digits --option label_noise={}", "tables {}", "demo --folder R --seeds {}", "fork R new --at {}",
        "resume R --problem {}", "resume R --problem os:{}", "{}", "--{}",
    )  # fmt: skip
    return [[word.format(odd) if word != "R" else folder for word in line.split()] for line in lines for odd in ODD]


@pytest.mark.usefixtures("nothing_begins")
def test_odd_words_on_the_command_line_give_one_line_of_error(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ka_explore.report.chapter_of", lambda *_, **__: Chapter("", ()))  # takes a second
    found, told = [], 0
    for words in commands(str(run.folder)):
        try:
            code = main(words)
        except SystemExit as end:  # argparse's, after its own words
            code = end.code
        except Exception as error:
            found.append(f"{[word[:30] for word in words]}: {type(error).__name__}: {str(error)[:150]}")
            continue
        said = capsys.readouterr().err
        told += code == 2
        last = said.strip().splitlines()[-1:]
        if code not in (0, 2) or "Traceback" in said or (code == 2 and not last[0].startswith("ka-explore")):
            found.append(f"{[word[:30] for word in words]}: {code}: {said[-200:]}")
    assert not found, "\n".join(found)
    assert told > 300


# None is left out.

ELSEWHERE = {
    "test_bad_input.py": ("LabelSpace", "Labelled", "Pool", "Problem", "Student"),
    "test_teacher_doors.py": ("Preprocess", "Teacher"),
    "test_doors_of_runs.py": (
        "Run", "Store", "compare", "diagnose", "export_student", "load_student", "report.write_report"
    ),
}  # fmt: skip
EXCEPT = {
    "Batch": "made by a run, each step",
    "Outputs": "made by nets, each step",
    "StepOutput": "made by methods, each step; what it holds is checked by Run where it is recorded",
    "Method": "abstract: Run makes it, and hands it what was checked",
    "panels.Workbench": "made by workbench",
    "probes.jobs.Embedding": "made by embed",
    "probes.jobs.Progress": "made by an embedding",
    "probes.jobs.forget": "takes nothing",
    "run.store.replace_file": "how a run writes its own folder",
    "run.store.to_json": "how a run writes its own folder",
    "run.store.writing": "how a run writes its own folder",
}


def public() -> dict[str, Any]:
    """What stands in the ``__all__`` of the package and of the modules in it, and can be called; errors apart."""
    found: dict[int, tuple[str, Any]] = {}
    names = [module.name for module in pkgutil.walk_packages(ka_explore.__path__, "ka_explore.")]
    for module in map(importlib.import_module, ["ka_explore", *(n for n in names if n != "ka_explore.__main__")]):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if callable(value) and not (isinstance(value, type) and issubclass(value, Exception)):
                home = module.__name__.removeprefix("ka_explore").removeprefix(".")
                found.setdefault(id(value), (f"{home}.{name}".removeprefix("."), value))
    return dict(found.values())


def test_every_public_function_is_at_some_door(run, tmp_path, net):
    tables = (
        of_results(), of_probes(), of_embeddings(), of_plots(tmp_path), of_problems_and_methods(net), of_diagnosis(run),
        of_torch(),
    )  # fmt: skip
    doors = {name for table in tables for name in table} | {"workbench"} | {n for ns in ELSEWHERE.values() for n in ns}
    known = {name.rpartition(".")[2] for name in doors} | {name.rpartition(".")[2] for name in EXCEPT}
    assert {name for name in public() if name.rpartition(".")[2] not in known} == set()
    assert all(reason for reason in EXCEPT.values())
    for file in ELSEWHERE:
        assert (Path(__file__).parent / file).exists()
