"""The commands that train: run, resume, fork, export, trial, tables, demo; and what methods there are."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ka_explore.benchmark.evaluate import compare
from ka_explore.benchmark.tables import SECTIONS, section
from ka_explore.benchmark.trial import DEFAULT, Candidate, table, trial
from ka_explore.cli.shared import (
    comparison_table,
    make_problem,
    opened,
    positive,
    print_json,
    problem_options,
    settings,
)
from ka_explore.errors import unknown
from ka_explore.methods import METHODS
from ka_explore.methods.config import options_of, typed
from ka_explore.run.reproduce import command, fork_command
from ka_explore.run.run import Run


def command_run(chosen: argparse.Namespace) -> None:
    """Train a student."""
    options = settings(chosen.method, chosen.set)  # before the teachers are trained, as it takes no time
    problem = make_problem(chosen.problem, chosen.option)
    given = {name: getattr(chosen, name) for name in ("form", "seed", "device", "threads", "precision")}
    given["folder"] = chosen.folder or Path("runs") / f"{chosen.method}-{chosen.seed}"
    given["tasks"] = None if chosen.tasks is None else [task.strip() for task in chosen.tasks.split(",")]
    finish(Run(problem, chosen.method, snapshot_every=chosen.snapshots, **given, **options))


def command_resume(chosen: argparse.Namespace) -> None:
    """Go on with a run."""
    finish(opened(chosen.run, chosen.problem), chosen.steps)


def command_fork(chosen: argparse.Namespace) -> None:
    """Fork a run and run the fork."""
    run = opened(chosen.run, chosen.problem)
    at = run.recorded if chosen.at is None else chosen.at
    fork = run.fork(chosen.name, at=at, **settings(run.store.about["method"], chosen.set))
    if chosen.stay:
        print(f"{fork!r} in {fork.folder}")
    else:
        finish(fork)


def command_export(chosen: argparse.Namespace) -> None:
    """Write a student."""
    from ka_explore.run.export import export_program, export_student

    run = opened(chosen.run, chosen.problem)
    print(f"written: {export_student(run, chosen.folder)}")
    if chosen.pt2:
        print(f"written: {export_program(run, chosen.folder / 'student.pt2')}")


def command_trial(chosen: argparse.Namespace) -> None:
    """Methods over seeds."""
    given: dict[str, Any] = {"options": problem_options(chosen.option), "folder": chosen.folder}
    candidates = [candidate(text.strip()) for text in chosen.methods.split(",")] if chosen.methods else DEFAULT
    given |= {"seeds": range(positive("seeds", chosen.seeds)), "jobs": positive("jobs", chosen.jobs)}
    result = trial(chosen.problem, candidates=candidates, **given)
    print_json(result.to_dict()) if chosen.json else print(table(result))


def command_tables(chosen: argparse.Namespace) -> None:
    """Tables of all methods."""
    for name in chosen.problems:
        if name not in SECTIONS:
            raise unknown("table", name, SECTIONS)
    seeds = range(chosen.first, chosen.first + positive("seeds", chosen.seeds))
    for name in chosen.problems or SECTIONS:
        print(section(name, seeds=seeds, jobs=positive("jobs", chosen.jobs), validation=chosen.validation), flush=True)


def command_demo(chosen: argparse.Namespace) -> None:
    """From nothing to a report."""
    from ka_explore.benchmark.demo import demo

    demo(chosen.folder, seeds=positive("seeds", chosen.seeds), jobs=positive("jobs", chosen.jobs))


def command_methods(chosen: argparse.Namespace) -> None:
    """Methods and options."""
    if chosen.method is None:
        for name, method in METHODS.items():
            print(f"{name:20} {(method.__doc__ or '').splitlines()[0]}")
        print("\nka-explore methods NAME lists a method's options.")
        return
    if chosen.method not in METHODS:
        raise unknown("method", chosen.method, METHODS)
    method = METHODS[chosen.method]
    print(f"{chosen.method}: {(method.__doc__ or '').splitlines()[0]}\n")
    for field in options_of(method.Config).values():
        print(f"  --set {field.name}={typed(field.default)}\n        {field.text}")
        if field.choices:
            print(f"        one of {', '.join(map(str, field.choices))}")
        elif field.low is not None:
            print(f"        {field.low:g} to {field.high:g}")
    for form, values in method.forms.items():
        print(f"\n  --form {form}\n        {', '.join(f'{k}={v}' for k, v in values.items())}")


def finish(run: Run, steps: int | None = None) -> None:
    """Do the steps that are left, keep them, and say what to do next."""
    go_on = f"go on with: {command('resume', run.folder)}"
    try:
        run.advance(steps, progress=None)
    except KeyboardInterrupt:
        run.save()
        print(f"\nstopped at step {run.step} of {run.steps}; {go_on}", file=sys.stderr)
        raise
    run.save()
    print(f"{run!r} in {run.folder}")
    if run.problem.test is not None:
        print(comparison_table(compare([run])))
    if not run.done:
        print(go_on)
    elif run.stage is not None:
        print(f"try: {fork_command(run.folder, 'what-if', run.steps // 2, {'learning_rate': 0.001})}")


def candidate(text: str) -> Candidate:
    """A method of a trial from ``name``, ``name/form`` or ``name:option=value+option=value``."""
    name, _, pairs = text.partition(":")
    method, _, form = name.partition("/")
    usual = {each.method: each for each in DEFAULT}.get(method, Candidate(method, method))
    if not pairs and not form:
        return usual
    options = settings(method, pairs.split("+")) if pairs else {}
    label = " ".join(part for part in (usual.label, form, pairs.replace("+", " ")) if part)
    return Candidate(label, method, form or None, options)
