"""How to make a run again: the Python makes the very run, the command is read as the same options."""

import shlex

import pytest

from ka_explore import Run, toy
from ka_explore.cli import make_parser
from ka_explore.cli.shared import problem_options, settings
from ka_explore.run.reproduce import (
    command,
    config_at,
    differences,
    fork_command,
    fork_lines,
    from_scratch,
    in_words,
    kept_as,
    open_lines,
    run_command,
)

OPTIONS = {"steps": 4, "batch_size": 8, "bandwidths": (0.1, 1.0), "alpha": None}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    problem = toy.digits(unlabelled=60)
    folder = tmp_path_factory.mktemp("again") / "a b"
    return Run(problem, "common_feature", seed=3, folder=folder, snapshot_every=2, **OPTIONS).advance(2)


def read(text: str):
    """A command as the parser reads it."""
    words = shlex.split(text)
    assert words[0] == "ka-explore"
    return make_parser(words[1]).parse_args(words[1:])


def test_the_python_of_a_run_and_of_its_fork_makes_the_very_rows(run):
    fork = run.fork("less mmd", at=2, mmd_weight=0.25).advance(None)
    made: dict = {}
    exec(from_scratch(fork.store.about, names={0: "base"}), made)
    assert made["run"].name == "less mmd"
    assert made["run"].config == fork.config
    assert [row["loss"] for row in made["run"].history()] == [row["loss"] for row in fork.history()]


def test_the_command_of_a_run_is_read_as_what_it_was_made_with(run):
    chosen = read(run_command(run.store.about))
    assert (chosen.problem, chosen.method, chosen.seed, chosen.snapshots) == ("digits", "common_feature", 3, 2)
    assert problem_options(chosen.option) == dict(run.problem.options)
    assert run.config == type(run.config)(**settings("common_feature", chosen.set))


def test_the_command_of_a_fork_says_the_step_and_what_changed(run):
    fork = run.fork("it's less", at=2, mmd_weight=0.25)
    text = run_command(fork.store.about)
    assert text == fork_command("runs/a b", "it's less", 2, {"mmd_weight": 0.25})
    chosen = read(text)
    assert (str(chosen.run), chosen.name, chosen.at) == ("runs/a b", "it's less", 2)
    assert settings("common_feature", chosen.set) == {"mmd_weight": 0.25}


def test_what_is_said_in_prose_is_no_command_with_words_replaced():
    assert in_words({"steps": 60, "without": ["digits 0-4"], "alpha": None}) == (
        "steps=60, without='digits 0-4', alpha=none"
    )
    assert in_words({}) == ""
    assert differences({"a": 1, "b": [1, 2]}, {"a": 1, "b": (1, 2), "c": 3}) == {"c": 3}


def test_the_options_in_force_are_those_of_the_last_change_before_a_step():
    configs = [(0, "first"), (10, "second"), (20, "third")]
    assert [config_at(configs, step) for step in (-1, 0, 9, 10, 25)] == ["first", "first", "first", "second", "third"]


def test_names_and_folders_are_quoted_as_python_and_as_words(tmp_path):
    assert fork_lines('a "b"', None, {"steps": 3}) == 'fork = run.fork("a \\"b\\"", steps=3)\nfork.advance(None)'
    assert open_lines("runs/ä", "b") == (
        'from ka_explore import Run\n\nrun = Run.open("runs/ä")\nrun = Run.open("b")\n'
    )
    assert command("resume", tmp_path / "a b") == f"ka-explore resume '{tmp_path}/a b'"
    assert kept_as("base", tmp_path) == str(tmp_path)
    assert kept_as("base", tmp_path / "ka-explore-xyz") == "runs/base"
