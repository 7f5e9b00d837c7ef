"""The command line: run · resume · fork · compare · report · list · export · trial · tables · demo · methods.

Options of a method come from its ``Config``: ``ka-explore methods NAME`` lists them, ``--set name=value`` sets them.
"""

import argparse
import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ka_explore import __version__
from ka_explore.config import options_of, parse, typed
from ka_explore.errors import InputError, KaError, unknown
from ka_explore.evaluate import Comparison, compare
from ka_explore.methods import METHODS
from ka_explore.problem import Problem
from ka_explore.run import Run
from ka_explore.store import Store
from ka_explore.tables import SECTIONS, section
from ka_explore.toy import PROBLEMS
from ka_explore.trial import DEFAULT, Candidate, table, trial

FAILED = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 after an error that is explained, 130 after Ctrl-C."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], None] = chosen.command
        command(chosen)
    except KaError as error:
        print(f"ka-explore: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nstopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="ka-explore",
        description="Explore knowledge amalgamation: several frozen teachers, no label, one small student.",
        epilog="ka-explore COMMAND --help tells more. Start with: ka-explore demo",
    )
    parser.add_argument("--version", action="version", version=f"ka-explore {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    run = add("run", command_run, "train a student on a problem and keep the run in a folder")
    run.add_argument("problem", help=f"{', '.join(PROBLEMS)}, or package.module:function that returns a Problem")
    run.add_argument("method", nargs="?", default="common_feature", help=f"{', '.join(METHODS)} (default: %(default)s)")
    run.add_argument("--folder", type=Path, help="where the run is kept (default: runs/METHOD-SEED)")
    run.add_argument("--tasks", help="the tasks wanted, with commas (default: all that the teachers answer)")
    run.add_argument("--form", help="a named set of options, such as a published code's: see ka-explore methods")
    run.add_argument("--seed", type=int, default=0, help="of initialisation and batches (default: %(default)s)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    run.add_argument("--threads", type=int, help="of torch (default: 1 for small students)")
    run.add_argument("--precision", default="float32", help="float32, or bfloat16 on a GPU (default: %(default)s)")
    run.add_argument(
        "--snapshots", type=int, default=50, metavar="K", help="store a snapshot every K steps, 0 for none"
    )
    add_pairs(run, "--set", "an option of the method; see ka-explore methods")
    add_pairs(run, "--option", "an option of the problem, such as preset=few_images or seed=1")

    resume = add("resume", command_resume, "go on with a run from where it stopped")
    resume.add_argument("run", type=Path, help="the run's folder")
    resume.add_argument("--steps", type=int, help="how many steps to go on (default: to the end)")
    add_problem(resume)

    fork = add("fork", command_fork, "same past, other options from a step on; then run it to the end")
    fork.add_argument("run", type=Path, help="the folder of the run to fork")
    fork.add_argument("name", help="of the fork, which becomes a folder beside the run's")
    fork.add_argument("--at", type=int, help="the step to fork at (default: the run's last)")
    fork.add_argument("--stay", action="store_true", help="make the fork and do not run it")
    add_pairs(fork, "--set", "an option of the method; see ka-explore methods")
    add_problem(fork)

    comparison = add("compare", command_compare, "mark runs on the test images, with the teachers beside them")
    comparison.add_argument("runs", type=Path, nargs="+", help="the runs' folders")
    comparison.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_problem(comparison)

    page = add("report", command_report, "write runs up as one page with figures")
    page.add_argument("runs", type=Path, nargs="+", help="the runs' folders")
    page.add_argument("-o", "--output", type=Path, help="the file (default: report.html or report.md)")
    page.add_argument("--format", choices=("html", "md"), help="default: by the file's ending, else html")
    add_problem(page)

    listing = add("list", command_list, "list the runs in a folder")
    listing.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="default: %(default)s")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")

    export = add("export", command_export, "write a run's student as safetensors and JSON")
    export.add_argument("run", type=Path, help="the run's folder")
    export.add_argument("folder", type=Path, help="where to write")
    export.add_argument("--pt2", action="store_true", help="also write student.pt2, a torch.export program")
    add_problem(export)

    several = add("trial", command_trial, "methods over seeds on one problem, paired, as a table")
    several.add_argument("problem", choices=sorted(PROBLEMS), nargs="?", default="mnist", help="default: %(default)s")
    several.add_argument(
        "--methods",
        help="names with commas, each perhaps with a form or options, as in layer_wise/paired or "
        "common_feature:mmd_weight=1+norm=none "
        "(default: common_feature,distillation,ensemble,oracle)",
    )
    several.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    several.add_argument("--jobs", type=int, default=1, help="processes of one thread each (default: %(default)s)")
    several.add_argument("--folder", type=Path, help="keep the runs here")
    several.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_pairs(several, "--option", "an option of the problem, such as preset=few_images")

    page = add("tables", command_tables, "every method and baseline on every toy problem, over seeds, as Markdown")
    page.add_argument("problems", nargs="*", help=f"of {', '.join(SECTIONS)} (default: all)")
    page.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    page.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    page.add_argument("--jobs", type=int, default=1, help="processes of one thread each (default: %(default)s)")
    page.add_argument("--validation", action="store_true", help="mark on validation images, leave test images alone")

    demo = add("demo", command_demo, "from nothing to an amalgamated student: teachers, three seeds, table and report")
    demo.add_argument("--folder", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    demo.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    demo.add_argument("--jobs", type=int, default=1, help="processes of one thread each (default: %(default)s)")

    methods = add("methods", command_methods, "list the methods, or one method's options and forms")
    methods.add_argument("method", nargs="?", help=f"{', '.join(METHODS)}")
    return parser


def add_pairs(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    """An option that can be given several times as name=value."""
    parser.add_argument(flag, action="append", default=[], metavar="NAME=VALUE", help=text)


def add_problem(parser: argparse.ArgumentParser) -> None:
    """For runs whose problem is not one of ours."""
    parser.add_argument(
        "--problem",
        metavar="MODULE:FUNCTION",
        help="what makes the run's problem, where it is not one of ka_explore.toy",
    )


# The commands.


def command_run(chosen: argparse.Namespace) -> None:
    """Train a student."""
    options = settings(chosen.method, chosen.set)  # before the teachers are trained, as it takes no time
    problem = make_problem(chosen.problem, chosen.option)
    run = Run(
        problem,
        chosen.method,
        folder=chosen.folder or Path("runs") / f"{chosen.method}-{chosen.seed}",
        form=chosen.form,
        tasks=None if chosen.tasks is None else [task.strip() for task in chosen.tasks.split(",")],
        seed=chosen.seed,
        device=chosen.device,
        threads=chosen.threads,
        precision=chosen.precision,
        snapshot_every=chosen.snapshots,
        **options,
    )
    finish(run)


def command_resume(chosen: argparse.Namespace) -> None:
    """Go on with a run."""
    run = opened(chosen.run, chosen.problem)
    finish(run, chosen.steps)


def command_fork(chosen: argparse.Namespace) -> None:
    """Fork a run and run the fork."""
    run = opened(chosen.run, chosen.problem)
    at = run.recorded if chosen.at is None else chosen.at
    fork = run.fork(chosen.name, at=at, **settings(run.store.about["method"], chosen.set))
    if chosen.stay:
        print(f"{fork!r} in {fork.folder}")
    else:
        finish(fork)


def command_compare(chosen: argparse.Namespace) -> None:
    """Mark runs."""
    comparison = compare([opened(folder, chosen.problem) for folder in chosen.runs])
    print(json.dumps(finite(comparison.to_dict()), indent=2) if chosen.json else comparison_table(comparison))


def command_report(chosen: argparse.Namespace) -> None:
    """Write runs up."""
    try:
        from ka_explore.report import write_report
    except ModuleNotFoundError as error:
        raise InputError(f"a report needs {error.name}: pip install 'ka-explore[plots]'.") from error

    kind: Any = chosen.format or ("md" if chosen.output is not None and chosen.output.suffix == ".md" else "html")
    output = chosen.output or Path(f"report.{kind}")
    runs = [opened(folder, chosen.problem) for folder in chosen.runs]
    print(f"written: {write_report(runs, output, kind=kind)}")


def command_list(chosen: argparse.Namespace) -> None:
    """List runs."""
    lines = []
    for path in sorted(chosen.folder.glob("**/run.json")):
        try:
            store = Store(path.parent)
            about = store.about
            last = store.row(store.rows_kept - 1) if store.rows_kept else None
            lines.append(
                {
                    "folder": str(path.parent),
                    "name": about["name"],
                    "method": about["method"],
                    "problem": about["problem"]["name"],
                    "seed": about["seed"],
                    "steps": store.rows_kept,
                    "loss": last["loss"] if last else None,
                    "parent": about["parent"],
                }
            )
        except (KaError, KeyError, TypeError) as error:
            lines.append({"folder": str(path.parent), "name": "?", "error": str(error)})
    if chosen.json:
        print(json.dumps(lines, indent=2))
    elif not lines:
        raise InputError(f"there is no run in {chosen.folder}: make one with ka-explore run mnist")
    else:
        print(text_table(["folder", "name", "method", "problem", "seed", "steps", "loss", "parent"], lines))


def command_export(chosen: argparse.Namespace) -> None:
    """Write a student."""
    from ka_explore.export import export_program, export_student

    run = to_the_end(opened(chosen.run, chosen.problem))
    print(f"written: {export_student(run, chosen.folder)}")
    if chosen.pt2:
        print(f"written: {export_program(run, chosen.folder / 'student.pt2')}")


def command_trial(chosen: argparse.Namespace) -> None:
    """Methods over seeds."""
    candidates: Sequence[Candidate] = DEFAULT
    if chosen.methods:
        candidates = [candidate(text.strip()) for text in chosen.methods.split(",")]
    result = trial(
        chosen.problem,
        options=problem_options(chosen.option),
        candidates=candidates,
        seeds=range(positive("seeds", chosen.seeds)),
        folder=chosen.folder,
        jobs=positive("jobs", chosen.jobs),
    )
    print(json.dumps(finite(result.to_dict()), indent=2) if chosen.json else table(result))


def command_tables(chosen: argparse.Namespace) -> None:
    """Tables of all methods."""
    for name in chosen.problems:
        if name not in SECTIONS:
            raise unknown("table", name, SECTIONS)
    seeds = range(chosen.first, chosen.first + positive("seeds", chosen.seeds))
    for name in chosen.problems or SECTIONS:
        text = section(name, seeds=seeds, jobs=positive("jobs", chosen.jobs), validation=chosen.validation)
        print(text, flush=True)


def command_demo(chosen: argparse.Namespace) -> None:
    """From nothing to a report."""
    from ka_explore.demo import demo

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
        print(f"  --set {field.name}={typed(field.default)}")
        print(f"        {field.text}")
        if field.choices:
            print(f"        one of {', '.join(map(str, field.choices))}")
        elif field.low is not None:
            print(f"        {field.low:g} to {field.high:g}")
    for form, values in method.forms.items():
        print(f"\n  --form {form}\n        {', '.join(f'{k}={v}' for k, v in values.items())}")


# What the commands share.


def make_problem(name: str, pairs: Sequence[str]) -> Problem:
    """A problem of ours by name, or of a function the user names; the user's word is what makes it run."""
    options = problem_options(pairs)
    if name in PROBLEMS:
        function: Callable[..., Any] = PROBLEMS[name]
    elif ":" in name:
        module, _, attribute = name.partition(":")
        sys.path.insert(0, "")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InputError(f"cannot import {name!r}: {error}. Expected package.module:function.") from error
    else:
        raise unknown("problem", name, PROBLEMS, where=" (or package.module:function)")
    try:
        problem = function(**options)
    except TypeError as error:
        raise InputError(f"{name} does not take these options: {error}") from error
    if not isinstance(problem, Problem):
        raise InputError(f"{name} returned a {type(problem).__name__}, expected a Problem.")
    return problem


def opened(folder: Path, problem: str | None) -> Run:
    """A run from its folder; what was left out is told."""
    run = Run.open(folder, None if problem is None else make_problem(problem, []))
    for note in run.notes:
        print(f"ka-explore: {note}", file=sys.stderr)
    return to_the_end(run)


def to_the_end(run: Run) -> Run:
    """The run at its last recorded step, replayed where the last checkpoint is earlier."""
    return run.advance(run.recorded - run.step) if run.recorded > run.step else run  # looking needs no lock


def finish(run: Run, steps: int | None = None) -> None:
    """Do the steps that are left, keep them, and say what to do next."""
    try:
        run.advance(steps, progress=None)
    except KeyboardInterrupt:
        run.save()
        print(
            f"\nstopped at step {run.step} of {run.steps}; go on with: ka-explore resume {run.folder}", file=sys.stderr
        )
        raise
    run.save()
    print(f"{run!r} in {run.folder}")
    if run.problem.test is not None:
        print(comparison_table(compare([run])))
    if not run.done:
        print(f"go on with: ka-explore resume {run.folder}")
    elif run.stage is not None:
        print(f"try: ka-explore fork {run.folder} what-if --at {run.steps // 2} --set learning_rate=0.001")


def settings(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a method from name=value, each read as the option's type."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    fields = options_of(METHODS[method].Config)
    values = {}
    for name, text in split(pairs):
        if name not in fields:
            raise unknown("option", name, fields, where=f" of {method}")
        values[name] = parse(fields[name], text)
    return values


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


def problem_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a problem from name=value: numbers, true, false and null as in JSON, all else text."""
    values: dict[str, Any] = {}
    for name, text in split(pairs):
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def split(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """(name, value) of each name=value."""
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise InputError(f"{pair!r}: expected NAME=VALUE.")
    return [(pair.partition("=")[0].strip().replace("-", "_"), pair.partition("=")[2].strip()) for pair in pairs]


def finite(value: Any) -> Any:
    """The same with null for numbers that are not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def positive(name: str, value: int) -> int:
    """The number, if it is at least 1."""
    if value < 1:
        raise InputError(f"--{name} {value}: expected at least 1.")
    return value


def comparison_table(comparison: Comparison) -> str:
    """Runs and references as text; accuracies in percent."""
    lines: list[dict[str, Any]] = []
    for entry in comparison.entries:
        line = {
            "run": entry.name + (" (oracle: trained on true labels)" if entry.uses_labels else ""),
            "method": entry.method,
            "steps": entry.steps,
        }
        line |= {joint(task): f"{100 * value:.1f}" for task, value in entry.joint.items()}
        line |= {f"within {teacher}": f"{100 * value:.1f}" for teacher, value in entry.within.items()}
        line |= {f"agrees with {teacher}": f"{100 * value:.1f}" for teacher, value in entry.agreement.items()}
        lines.append(line | {"seconds": f"{entry.seconds:.1f}", "parameters": f"{entry.parameters:,}"})
    reference = comparison.references
    own = {f"within {teacher}": f"{100 * value:.1f}" for teacher, value in reference.teachers.items()}
    ensemble = {joint(task): f"{100 * value:.1f}" for task, value in reference.ensemble.items()}
    routed = {joint(task): f"{100 * value:.1f}" for task, value in reference.routed.items()}
    lines.append({"run": "the teachers side by side"} | ensemble | own)
    lines.append({"run": "the teachers, routed by the true class"} | routed | own)
    return text_table(list(lines[0]), lines)


def joint(task: str) -> str:
    """The column of a task's joint accuracy."""
    return "joint" if task == "class" else f"joint {task}"


def text_table(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> str:
    """Columns as wide as their text; missing values as a dash."""
    cells = [[format_cell(line.get(column)) for column in columns] for line in lines]
    widths = [max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    rows = [list(columns), *cells]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    errors = [f"{line['folder']}: {line['error']}" for line in lines if "error" in line]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], *errors])


def format_cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return " @ ".join(map(str, value))
    return str(value)
