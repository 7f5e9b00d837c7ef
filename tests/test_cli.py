"""The command line: every command does its work, and whatever is wrong is one line on stderr and status 2."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ka_explore import METHODS, PROBES, Run, __version__, toy
from ka_explore.cli import main, make_parser
from ka_explore.probes.results import Matrix, heading
from ka_explore.run.export import load_student

COMMANDS = (
    "run", "resume", "fork", "compare", "report", "diagnose", "probe", "plot", "list", "export", "tables", "trial",
    "demo", "methods",
)  # fmt: skip
TINY = ("--option", "unlabelled=100", "--set", "steps=6", "--set", "batch_size=16")
SMALL = (*TINY, "--set", "width=4", "--set", "blocks=1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def do(capsys):
    """Run a command that must succeed without a word on stderr; what it printed."""

    def run(*arguments: str) -> str:
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        return out

    return run


@pytest.fixture
def refused(capsys):
    """Run a command that must fail: status 2, one line on stderr, nothing on stdout; that line."""

    def run(*arguments: str) -> str:
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert status == 2
        assert out == ""
        assert len(err.splitlines()) == 1
        assert err.startswith("ka-explore: ")
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a run of each kind: base (common features), plain (distillation), sums (ensemble), top (oracle)."""
    folder = tmp_path_factory.mktemp("runs")
    for name, method, options in (
        ("base", "common_feature", (*SMALL, "--snapshots", "3")),
        ("plain", "distillation", TINY),
        ("sums", "ensemble", TINY[:2]),
        ("top", "oracle", TINY),
    ):
        assert main(["run", "digits", method, "--folder", str(folder / name), *options]) == 0
    return folder


@pytest.fixture
def no_figures(monkeypatch):
    """Figures are made and not rendered: what they look like is tested elsewhere, and takes seconds."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"<svg/>") and None)


# Runs


def test_run_trains_keeps_and_marks(do, here):
    out = do("run", "digits", "distillation", *TINY, "--seed", "3", "--threads", "1", "--device", "cpu")
    run = Run.open(here / "runs/distillation-3")
    assert (run.step, run.seed, run.config.steps, run.config.batch_size) == (6, 3, 6, 16)
    assert run.store.about["threads"] == 1
    assert "joint" in out
    assert "the teachers side by side" in out
    assert "ka-explore fork runs/distillation-3" in out


def test_run_does_what_python_does(do, here):
    do("run", "digits", *SMALL, "--folder", "mine", "--seed", "1")
    run = Run(toy.digits(unlabelled=100), seed=1, steps=6, batch_size=16, width=4, blocks=1).advance(None)
    mine = Run.open(here / "mine")
    assert all(torch.equal(value, run.method.state_dict()[name]) for name, value in mine.method.state_dict().items())


def test_a_form_and_options_on_top_of_it(do, here):
    do("run", "digits", *SMALL, "--form", "code", "--folder", "mine", "--set", "mmd-weight=3")
    config = Run.open(here / "mine").config
    assert (config.mmd_weight, config.reconstruction_weight, config.width) == (3.0, 10.0, 4)


def test_a_problem_of_the_users_own(do, here, monkeypatch):
    (here / "my_problem_of_the_test.py").write_text(
        "from ka_explore import Problem, toy\n"
        "def make(count=80):\n"
        "    made = toy.digits(unlabelled=count)\n"
        "    return Problem(made.teachers, made.pool, made.student, made.test)\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    do("run", "my_problem_of_the_test:make", "distillation", *TINY[2:], "--option", "count=90", "--folder", "mine")
    do("run", "my_problem_of_the_test:make", "distillation", *TINY[2:], "--folder", "other")
    assert main(["compare", "other"]) == 2  # a folder names no code: the user must
    assert main(["compare", "other", "--problem", "my_problem_of_the_test:make"]) == 0
    assert main(["compare", "mine", "--problem", "my_problem_of_the_test:make"]) == 2  # another pool


def test_resume_goes_on_from_where_it_stopped(do, here):
    Run(toy.digits(unlabelled=100), "distillation", steps=6, batch_size=16, folder=here / "mine").advance(2).save()
    assert "step 4 of 6" in do("resume", "mine", "--steps", "2")
    assert "go on with: ka-explore resume mine" in do("resume", "mine", "--steps", "0")
    assert "step 6 of 6" in do("resume", "mine")
    whole = Run(toy.digits(unlabelled=100), "distillation", steps=6, batch_size=16).advance(None)
    mine = Run.open(here / "mine")
    assert all(torch.equal(value, whole.method.state_dict()[name]) for name, value in mine.method.state_dict().items())


def test_what_a_crash_cut_off_is_told_on_stderr(here, capsys):
    Run(toy.digits(unlabelled=100), "distillation", steps=6, batch_size=16, folder=here / "mine").advance(4).save()
    with (here / "mine/history.jsonl").open("r+b") as file:
        file.truncate((here / "mine/history.jsonl").stat().st_size - 9)
    assert main(["resume", "mine"]) == 0
    out, err = capsys.readouterr()
    assert "ka-explore: history.jsonl was cut off after step 3" in err
    assert "step 6 of 6" in out


def test_fork_has_the_same_past_and_other_options(do, made, here):
    out = do("fork", made / "base", "what-if", "--at", "4", "--set", "mmd_weight=0")
    assert "what-if" in out
    fork, base = Run.open(made / "what-if"), Run.open(made / "base")
    assert fork.parent == ("base", 4)
    assert fork.step == 6
    assert fork.config.mmd_weight == 0
    assert [row["loss"] for row in fork.history()][:4] == [row["loss"] for row in base.history()][:4]
    do("fork", made / "base", "stays", "--at", "2", "--stay")
    assert Run.open(made / "stays").recorded == 2
    do("fork", made / "plain", "longer", "--at", "5", "--set", "steps=8")
    assert Run.open(made / "longer").step == 8


# Looking


def test_compare_prints_json_with_these_keys(do, made):
    found = json.loads(do("compare", made / "base", made / "plain", made / "sums", made / "top", "--json"))
    assert set(found) == {"runs", "references"}
    for entry in found["runs"]:
        assert {"name", "method", "steps", "joint", "within", "agreement", "seconds", "parameters"} <= set(entry)
        assert set(entry["joint"]) == {"class"}
        assert set(entry["within"]) == set(entry["agreement"]) == {"digits 0-4", "digits 5-9"}
        assert all(0 <= v <= 1 for part in ("joint", "within", "agreement") for v in entry[part].values())
        assert entry["parameters"] > 0
    assert [entry["method"] for entry in found["runs"]] == ["common_feature", "distillation", "ensemble", "oracle"]
    assert [entry["steps"] for entry in found["runs"]] == [6, 6, 0, 6]
    assert [entry["uses_labels"] for entry in found["runs"]] == [False, False, False, True]
    assert set(found["references"]) == {"teachers", "ensemble", "routed"}
    assert found["runs"][2]["joint"] == found["references"]["ensemble"]
    assert set(found["runs"][2]["agreement"].values()) == {1.0}


def test_compare_prints_a_table_that_marks_the_oracle(do, made):
    out = do("compare", made / "base", made / "top")
    assert "top (oracle: trained on true labels)" in out
    assert "the teachers, routed by the true class" in out
    numbers = json.loads(do("compare", made / "base", "--json"))["runs"][0]
    line = next(line for line in out.splitlines() if line.startswith("base"))
    assert f"{100 * numbers['joint']['class']:.1f}" in line


def test_compare_says_what_share_of_pairs_is_found_and_by_chance_as_the_probe_does(do, made):
    out = do("compare", made / "plain", made / "base")  # the first has no common space
    numbers = json.loads(do("compare", made / "plain", made / "base", "--json"))["runs"]
    printed = json.loads(do("probe", made / "base", "pairs_found", "--option", "neighbours=[1]", "--format", "json"))
    assert {name: value for name, value, *_ in printed["rows"]} == pytest.approx(numbers[1]["pairs"])
    assert printed["levels"] == {"by chance": numbers[1]["pairs_by_chance"]}
    assert (numbers[0]["pairs"], numbers[0]["pairs_by_chance"]) == ({}, None)
    head, _, plain, base, *rest = (re.split(r"  +", line) for line in out.splitlines())
    for teacher, share in numbers[1]["pairs"].items():
        column = head.index(f"pairs found {teacher}")
        assert (plain[column], base[column]) == ("–", f"{100 * share:.1f}")
        assert rest[-1][column] == f"{100 * numbers[1]['pairs_by_chance']:.1f}"
    assert rest[-1][0] == f"pairs by chance, of the probe set's {1 / numbers[1]['pairs_by_chance']:.0f} images"
    assert "pairs" not in do("compare", made / "plain")


def test_looking_changes_nothing_of_a_run(do, made, here, no_figures):
    """What was there stays as it is; axes of pictures and what was found of the teachers are added."""

    def files():
        found = {path for path in (made / "base").rglob("*") if path.is_file()}
        return {str(path.relative_to(made)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    before = files()
    do("compare", made / "base")
    do("report", made / "base")
    do("diagnose", made / "base")
    do("probe", made / "base")
    do("plot", made / "base", "film")
    do("list", made)
    after = files()
    assert {name: after[name] for name in before} == before
    assert all(re.match(r"base/(views/|examination\.json$)", name) for name in set(after) - set(before))


def test_list_shows_every_run_and_passes_over_what_is_none(do, made, here):
    (here / "runs").mkdir()
    Run(toy.digits(unlabelled=100), "distillation", steps=6, folder=here / "runs/deep/one").advance(2)
    (here / "runs/broken").mkdir()
    (here / "runs/broken/run.json").write_text("{")
    out = do("list")
    assert re.search(r"runs/deep/one\s+one\s+distillation\s+ka_explore.toy:digits\s+0\s+2\s+\d", out)
    assert "runs/broken" in out
    assert "was damaged" in out
    found = {entry["name"]: entry for entry in json.loads(do("list", "--json"))}
    assert (found["one"]["steps"], found["one"]["parent"]) == (2, None)
    assert "error" in found["?"]


# Reports: what is on the page is tested in test_report.py


def test_a_report_is_written_where_and_as_it_is_asked_for(do, made, here, no_figures):
    assert "written: report.html" in do("report", made / "plain", made / "sums")
    text = (here / "report.html").read_text()
    assert all(word in text for word in ("plain", "sums", "digits 0-4", "The runs compared"))
    do("report", made / "sums", "-o", "deep/page.md")
    assert (here / "deep/page.md").read_text().startswith("# sums")
    do("report", made / "sums", "--format", "md")
    assert (here / "report.md").exists()


# Diagnosis, probes, plots


def test_diagnose_prints_text_or_json_and_ends_well(do, made):
    out = do("diagnose", made / "base")
    assert "Checked (value, and from where it is a warning):" in out
    found = json.loads(do("diagnose", made / "base", "--json"))
    assert found["run"] == "base"
    assert set(found) == {"run", "findings", "checked", "skipped"}


def test_diagnose_judges_a_folder_whose_problem_cannot_be_made_here(here, capsys, tiny_problem):
    Run(tiny_problem(), "distillation", steps=4, folder=here / "mine", snapshot_every=2).advance(None).save()
    assert main(["diagnose", "mine"]) == 0
    out, err = capsys.readouterr()
    assert "judged by what is stored alone" in err
    assert "'mine'" in out


def test_probe_without_a_name_lists_all_that_the_run_has_and_has_not(do, made):
    out = do("probe", made / "base")
    mine, _, others = out.partition("For runs of other methods:")
    assert set(re.findall(r"^  (\w+) ", out, re.M)) == set(PROBES)
    assert re.search(r"^  mmd ", mine, re.M)
    assert re.search(r"^  bridges ", others, re.M)
    assert "steps 0, 3, 6" in out


@pytest.mark.parametrize("name", sorted(set(PROBES) - {"bridges", "selection", "selection_share"}))
def test_probe_prints_the_very_numbers_as_text_csv_and_json(name, do, made):
    result = PROBES[name](Run.open(made / "base").store.load_snapshot(3))
    printed = json.loads(do("probe", made / "base", name, "--step", "3", "--format", "json"))
    rows = list(csv.reader(do("probe", made / "base", name, "--step", "3", "--format", "csv").splitlines()))
    frame = result.to_pandas()
    if isinstance(result, Matrix):
        frame = frame.reset_index()
    assert printed["title"] == heading(result)
    assert len(printed["rows"]) == len(rows) - 1 == len(frame)
    for column in range(frame.shape[1]):
        given, said = frame.iloc[:, column], [row[column] for row in printed["rows"]]
        if given.dtype.kind == "f":
            np.testing.assert_allclose(np.array(said, dtype=float), given.to_numpy(), rtol=1e-6)
        else:
            assert list(map(str, said)) == list(map(str, given))
    assert heading(result) in do("probe", made / "base", name, "--step", "3")


def test_probe_takes_options_and_the_last_snapshot(do, made):
    arguments = ("probe", made / "base", "worst_channels", "--option", "count=2", "--option", "teacher=digits 5-9")
    assert "channels of digits 5-9 worst reconstructed, step 6" in do(*arguments)
    found = json.loads(do(*arguments, "--format", "json"))
    assert (len(found["rows"]), found["shape"]) == (2, "Scalars")


def test_probe_and_plot_go_on_taking_the_words_of_version_0_1(do, made, here):
    wanted = do("probe", made / "base", "responsibility")
    with pytest.warns(FutureWarning, match="the probe claims is responsibility"):
        assert do("probe", made / "base", "claims") == wanted
    wanted = do("probe", made / "base", "effective_rank", "--option", "space=feature")
    with pytest.warns(FutureWarning, match="of= is space="):
        assert do("probe", made / "base", "effective_rank", "--option", "of=feature") == wanted
    with pytest.warns(FutureWarning, match="of= is space="):
        do("plot", made / "base", "film", "--option", "of=scores")


def test_probe_of_a_run_without_snapshots_looks_at_it_as_it_is(do, here):
    run = Run(toy.digits(unlabelled=100), "distillation", steps=3, batch_size=16, folder=here / "m", snapshot_every=0)
    run.advance(None).save()
    found = json.loads(do("probe", "m", "agreement", "--format", "json"))
    assert {name: value for name, value, _ in found["rows"]} == pytest.approx(
        PROBES["agreement"](run.snapshot()).values
    )


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ("pca -o a.png", b"\x89PNG"),
        ("pca -o a.svg --steps", b"<?xml"),
        ("pca -o a.svg --steps --own-axes", b"<?xml"),
        ("class_axes -o a.png --steps", b"\x89PNG"),
        ("film --option how=class_axes -o a.html", b"<!DOCTYPE html>"),
        ("agreement --steps", b"\x89PNG"),
        ("mmd_curve --steps", b"\x89PNG"),
        ("cka -o a.pdf --step 3 --size column", b"%PDF"),
        ("diagram -o a.svg", b"<?xml"),
        ("terms --size projector", b"\x89PNG"),
        ("film", b"<!DOCTYPE html>"),
        ("film -o a.gif --option space=feature/student/conv2", b"GIF8"),
    ],
)
def test_plot_draws_into_a_file(arguments, begins, do, made, here):
    out = do("plot", made / "base", *arguments.split())
    (path,) = here.iterdir()
    assert out == f"written: {path.name}\n"
    assert path.read_bytes().startswith(begins)


def test_looking_at_a_folder_needs_no_torch(made, here):
    code = (
        "import json, sys; sys.modules['torch'] = None\nfrom ka_explore.cli import main\n"
        "print([main(arguments) for arguments in json.loads(sys.argv[1])])"
    )
    looks = (
        ("probe", made / "base"),
        ("probe", made / "base", "mmd"),
        ("plot", made / "base", "pca"),
        ("plot", made / "base", "terms"),
        ("plot", made / "base", "film"),
        ("list", made),
        ("diagnose", made / "base"),
        ("report", made / "plain"),
        ("run", "digits"),
    )
    given = json.dumps([[str(word) for word in look] for look in looks])
    command = [sys.executable, "-W", "error", "-c", code, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [str([0] * (len(looks) - 1) + [2])], done.stderr
    last = "ka-explore: this needs torch (pip install torch); diagnose, probe, plot and list do not."
    assert done.stderr.splitlines()[-1] == last


def test_export_writes_a_student_that_loads_and_agrees(do, made, here):
    assert "written: out" in do("export", made / "base", "out", "--pt2")
    run = Run.open(made / "base")
    images = run.problem.test.images[:8]
    assert torch.equal(load_student(here / "out")(images), run.predict(images))
    program = torch.export.load(here / "out/student.pt2").module()
    assert torch.allclose(program(images), run.predict(images), atol=1e-5)


def test_methods_lists_methods_options_and_forms(do):
    out = do("methods")
    assert all(name in out for name in METHODS)
    out = do("methods", "common_feature")
    for word in ("--set mmd_weight=0.1", "--set alpha=none", "--form code", "one of batch, none", "--set bandwidths="):
        assert word in out


def test_trial_compares_a_method_with_itself_under_other_options(do):
    found = json.loads(
        do("trial", "digits", "--methods", "distillation:steps=4,distillation:steps=4+temperature=3.0",
           "--seeds", "1", "--option", "unlabelled=50", "--json")
    )  # fmt: skip
    assert [line["label"] for line in found["lines"]] == [
        "distillation steps=4",
        "distillation steps=4 temperature=3.0",
    ]
    assert all(entries["0"]["steps"] == 4 for entries in found["entries"].values())


def test_trial_prints_lines_over_seeds(do, here):
    from ka_explore.benchmark.trial import Candidate

    found = json.loads(
        do("trial", "digits", "--methods", "ensemble", "--seeds", "1", "--option", "unlabelled=50", "--json")
    )
    assert found["seeds"] == [0]
    assert [line["uses_labels"] for line in found["lines"]] == [False]
    assert found["options"] == {"unlabelled": 50}
    assert Candidate("ensemble", "ensemble").form is None
    out = do(
        "trial", "digits", "--methods", "ensemble", "--seeds", "1", "--option", "unlabelled=50", "--folder", "kept"
    )
    assert out.startswith("| method")
    assert (here / "kept/ensemble-0/run.json").exists()


# Help and version


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: ka-explore {command}" in capsys.readouterr().out


def commands_of(parser) -> dict:
    (group,) = (action for action in parser._actions if action.dest != "help" and hasattr(action.choices, "keys"))
    return group.choices


def test_these_are_all_commands():
    assert tuple(sorted(commands_of(make_parser()))) == tuple(sorted(COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_only_the_command_that_is_given_is_read_as_with_all_others(command):
    one, every = (commands_of(make_parser(name)) for name in (command, None))
    assert one[command].format_help() == every[command].format_help()
    assert all(len(parser._actions) == 1 for name, parser in one.items() if name != command)


# What answers at once: which libraries it brings, and the seconds of a processor it takes.
BROUGHT = """
import sys, time
from ka_explore.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
tops = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print("BROUGHT", time.process_time(), *sorted(name for name in tops if not name.startswith(("_", "sitecustomize"))))
"""


@pytest.mark.parametrize("arguments", ["--help", "--version", "report --help", "probe --help", "fork --help"])
def test_help_brings_no_library_and_takes_less_than_a_second(arguments):
    command = [sys.executable, "-c", BROUGHT, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, *libraries = done.stdout.rpartition("BROUGHT ")[2].split()
    assert libraries == ["ka_explore"]
    assert float(seconds) < 1
    assert "ka-explore" in done.stdout


def test_the_module_runs_and_tells_its_version():
    done = subprocess.run([sys.executable, "-m", "ka_explore", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"ka-explore {__version__}"


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run digit", "Did you mean 'digits'"),
        ("run digits distilation", "Did you mean 'distillation'"),
        ("run digits --set mmd_wieght=1", "Did you mean 'mmd_weight'"),
        ("run digits --set steps", "expected NAME=VALUE"),
        ("run digits --set =3", "expected NAME=VALUE"),
        ("run digits --set steps=many", "expected int"),
        ("run digits --set steps=-1", "expected 0"),
        ("run digits --set bias=perhaps", "expected true or false"),
        ("run digits --set bandwidths=1,x", "expected tuple"),
        ("run digits --set norm=layer", "expected one of"),
        ("run digits --form cod", "Did you mean 'code'"),
        ("run digits --seed -1", "seed"),
        ("run digits --threads 0", "threads"),
        ("run digits --device tpu", "unknown device"),
        ("run digits --precision half", "unknown precision"),
        ("run digits --snapshots -1", "snapshot_every"),
        ("run digits --option unlabelled=3", "unlabelled"),
        ("run digits --option unlabelled=lots", "unlabelled"),
        ("run digits --option seed=NaN", "seed"),
        ("run digits --option nonsense=1", "does not take these options"),
        ("run mnist --option preset=noisy", "unknown preset"),
        ("run nowhere:make", "cannot import"),
        ("run json:nothing", "cannot import"),
        ("run json:dumps --option obj=1", "returned a str, expected a Problem"),
        ("run :x", "cannot import"),
        ("run .x:y", "cannot import"),
        ("run os:sep", "does not take"),
        ("resume nowhere", "there is no run"),
        ("fork nowhere name", "there is no run"),
        ("compare nowhere", "there is no run"),
        ("report nowhere", "there is no run"),
        ("diagnose nowhere", "there is no run"),
        ("probe nowhere", "there is no run"),
        ("plot nowhere pca", "there is no run"),
        ("export nowhere out", "there is no run"),
        ("list nowhere", "there is no run"),
        ("methods distil", "unknown method"),
        ("trial digits --methods distil", "unknown method"),
        ("trial digits --seeds 0", "--seeds 0"),
        ("trial digits --jobs 0", "--jobs 0"),
        ("trial digits --option unlabelled=3", "unlabelled"),
        ("demo --seeds 0", "--seeds 0"),
    ],
)
def test_a_wrong_word_is_one_line_that_says_what_is_right(arguments, message, refused, here):
    assert message in refused(*arguments.split())
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run digits --option unlabelled=100 --folder {made}/base", "there is a run"),
        ("resume {made}/base --steps -1", "number of steps"),
        ("fork {made}/base plain", "there is a run"),
        ("fork {made}/base ../x", "plain name"),
        ("fork {made}/base x --at 99", "expected a recorded step"),
        ("fork {made}/base x --set widht=3", "Did you mean 'width'"),
        ("fork {made}/base x --at 3 --set width=8", "with the change"),
        ("compare {made}/base {made}/nothing", "there is no run"),
        ("compare {made}/base --problem digits", "pool of this problem"),
        ("report {made}/base -o {made}/base/run.json/x.html", "cannot write"),
        ("probe {made}/base agrement", "Did you mean 'agreement'"),
        ("probe {made}/base agreement --step 4", "there are [0, 3, 6]"),
        ("probe {made}/base agreement --option x=1", "unknown option 'x'"),
        ("probe {made}/base worst_channels --option count=lots", "count must be a whole number, got"),
        ("probe {made}/base bridges", "no bridge/"),
        ("probe {made}/plain mmd", "no common/"),
        ("plot {made}/base pcaa", "Did you mean 'pca'"),
        ("plot {made}/base pca -o x.txt", "ends in .pdf, .png, .svg"),
        ("plot {made}/base pca -o nowhere/x.png", "there is no folder"),
        ("plot {made}/base mmd --own-axes", "only pca, class_axes and film"),
        ("plot {made}/base film -o x.png", ".html or .gif"),
        ("plot {made}/base film --option how=tsne", "unknown how 'tsne'"),
        ("plot {made}/base pca --steps --option space=nothing", "what can be drawn"),
        ("plot {made}/sums terms", "no term"),
        ("export {made}/base {made}/base/run.json/x", "cannot write"),
        ("export {made}/sums out", "nothing to export"),
    ],
)
def test_what_a_run_does_not_allow_is_one_line_and_nothing_is_lost(arguments, message, refused, made, here):
    before = sorted(path for path in made.rglob("*"))
    line = refused(*(part.format(made=made) for part in arguments.split()))
    assert message in line
    assert sorted(path for path in made.rglob("*")) == before
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["report"], ["run", "digits", "--seed", "x"]])
def test_a_command_that_cannot_be_read_is_a_usage_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: ka-explore" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("report",), ("plot", "pca")])
def test_without_matplotlib_a_page_or_plot_says_what_to_install(command, made, here):
    code = "import sys; sys.modules['matplotlib'] = None\nfrom ka_explore.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, command[0], str(made / "base"), *command[1:]],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 2
    assert "ka-explore[plots]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(here, capsys, monkeypatch):
    real = torch.optim.Adam.step
    count = []

    def interrupted(self, *args, **kwargs):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", interrupted)
    assert main(["run", "digits", "distillation", *TINY, "--folder", "mine"]) == 130
    assert "stopped at step 3 of 6; go on with: ka-explore resume mine" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main(["resume", "mine"]) == 0
    whole = Run(toy.digits(unlabelled=100), "distillation", steps=6, batch_size=16).advance(None)
    mine = Run.open(here / "mine")
    assert all(torch.equal(value, whole.method.state_dict()[name]) for name, value in mine.method.state_dict().items())
