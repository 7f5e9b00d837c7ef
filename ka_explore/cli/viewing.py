"""The commands that look: compare, list, report, diagnose, probe, plot. A folder can be looked at without torch."""

import argparse
import csv
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ka_explore.cli.shared import all_opened, comparison_table, opened, print_json, problem_options, ruled, text_table
from ka_explore.errors import InputError, KaError, checked, unknown
from ka_explore.probes import PROBES
from ka_explore.probes.clouds import KINDS, Kind
from ka_explore.probes.over_steps import first_answer, over_steps
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.results import Curves, Distribution, Matrix, Points, Result, Scalars, heading
from ka_explore.run.files import path_of
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

SHOWN = 40  # rows that text shows
PICTURES = 8  # side by side
CURVES = 4  # steps whose curves stand in one picture
DRAWN = ("diagram", "terms", "film")

Ask = Callable[[Snapshot], Result]
Opened = TypeVar("Opened")
Stored = TypeVar("Stored")


def command_compare(chosen: argparse.Namespace) -> None:
    """Mark runs."""
    from ka_explore.benchmark.evaluate import compare

    comparison = compare(all_opened(chosen.runs, chosen.problem))
    print_json(comparison.to_dict()) if chosen.json else print(comparison_table(comparison))


def command_list(chosen: argparse.Namespace) -> None:
    """List runs."""
    lines: list[dict[str, Any]] = []
    for path in sorted(path_of(chosen.folder).glob("**/run.json")):
        folder = str(path.parent)
        try:
            store = Store(path.parent)
            about, count = store.about, store.rows_kept
            line = {"folder": folder, "name": about["name"], "method": about["method"]}
            line |= {"problem": about["problem"]["name"], "seed": about["seed"], "steps": count}
            lines.append(line | {"loss": store.row(count - 1)["loss"] if count else None, "parent": about["parent"]})
        except (KaError, KeyError, TypeError) as error:
            lines.append({"folder": folder, "name": "?", "error": str(error)})
    if chosen.json:
        print_json(lines)
    elif not lines:
        raise InputError(f"there is no run in {chosen.folder}: make one with ka-explore run mnist")
    else:
        head = ["folder", "name", "method", "problem", "seed", "steps", "loss", "parent"]
        errors = [f"{line['folder']}: {line['error']}" for line in lines if "error" in line]
        print("\n".join([ruled(head, lines), *errors]))


def command_report(chosen: argparse.Namespace) -> None:
    """Write runs up."""
    kind: Any = chosen.format or ("md" if chosen.output is not None and chosen.output.suffix == ".md" else "html")
    output = chosen.output or Path(f"report.{kind}")
    with needing("a report"):
        from ka_explore.report import write_report
    stores = [Store(folder) for folder in chosen.runs]
    runs = opened_or_stored(lambda: all_opened(chosen.runs, chosen.problem), stores, chosen.problem)
    with needing(f"--embedding {chosen.embedding}"):
        print(f"written: {write_report(runs, output, kind=kind, embedding=chosen.embedding, progress=None)}")


def command_diagnose(chosen: argparse.Namespace) -> None:
    """Say what is wrong."""
    from ka_explore import diagnose

    store = Store(chosen.run)  # says what is wrong with a folder before anything is imported
    found = diagnose(opened_or_stored(lambda: opened(chosen.run, chosen.problem), store, chosen.problem))
    print_json(found.to_dict()) if chosen.json else print(found)


def command_probe(chosen: argparse.Namespace) -> None:
    """Print numbers."""
    store = Store(chosen.run)
    if chosen.name is None:
        print(listed(store, chosen))
        return
    result = first_answer(chosen_probe(chosen), snapshots_of(store, chosen))
    head, rows = result.table()
    if chosen.format == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([head, *rows])
    elif chosen.format == "json":
        about = {"probe": chosen.name, "shape": type(result).__name__, "title": heading(result), "step": result.step}
        about |= {name: getattr(result, name, "") for name in ("unit", "note")}
        about |= {"levels": levels} if (levels := getattr(result, "levels", {})) else {}
        print_json(about | {"columns": head, "rows": rows})
    else:
        print(as_text(result, head, rows))


def command_plot(chosen: argparse.Namespace) -> None:
    """Draw into a file."""
    with needing("a plot"):
        import ka_explore.plots  # noqa: F401
    store = Store(chosen.run)
    output = chosen.output or Path(f"{chosen.name}.{'html' if chosen.name == 'film' else 'png'}")
    if chosen.name not in PROBES and chosen.name not in DRAWN:
        raise unknown("plot", chosen.name, (*DRAWN, *PROBES))
    if chosen.own_axes and chosen.name not in (*KINDS, "film"):
        raise InputError(f"--own-axes: {chosen.name} has none, only {', '.join(KINDS)} and film have.")
    if chosen.name == "film":
        written = plot_film(store, chosen, output)
    else:
        from ka_explore.plots import save

        if output.suffix.lower() not in (".png", ".svg", ".pdf"):  # before the work
            raise InputError(f"cannot save {output.name!r}: expected a name that ends in .pdf, .png, .svg.")
        written = save(figure_of(store, chosen), output)
    print(f"written: {written}")


def opened_or_stored(open_: Callable[[], Opened], stored: Stored, problem: str | None) -> Opened | Stored:
    """What is opened where the problem can be made here, else what is stored; why is told."""
    try:
        return open_()
    except (InputError, ModuleNotFoundError) as error:
        if problem is not None or (isinstance(error, ModuleNotFoundError) and error.name != "torch"):
            raise
        print(f"ka-explore: judged by what is stored alone: {error}", file=sys.stderr)
        return stored


def snapshots_of(store: Store, chosen: argparse.Namespace) -> list[Snapshot]:
    """The stored snapshots, the last first; where none is stored, how things are now, which needs the problem."""
    steps = store.snapshot_steps()
    if chosen.step is not None and (steps or chosen.step != store.rows_kept):
        return [store.load_snapshot(chosen.step)]
    if steps:
        return [store.load_snapshot(step) for step in reversed(steps)]
    return [opened(chosen.run, chosen.problem).snapshot()]


def chosen_probe(chosen: argparse.Namespace) -> Ask:
    """The probe by name, with its options. Raises InputError for names that are not there."""
    if chosen.name not in PROBES:
        raise unknown("probe", chosen.name, PROBES)
    probe, options = PROBES[chosen.name], problem_options(chosen.option)
    known = [name for name in inspect.signature(probe).parameters if name not in ("snapshot", "basis")]
    known += ["of"] if "space" in known else []  # by its old name
    for name in options:
        if name not in known:
            raise unknown("option", name, known, where=f" of {chosen.name}")

    def asked(snapshot: Snapshot) -> Result:
        try:
            return probe(snapshot, **options)
        except TypeError as error:
            raise InputError(f"{chosen.name} does not take these options: {error}.") from error

    return asked if options else probe


def listed(store: Store, chosen: argparse.Namespace) -> str:
    """All probes by what they do; those that no snapshot of the run has anything for stand below."""
    found = snapshots_of(store, chosen)
    able, unable = list[str](), list[str]()
    for name, probe in PROBES.items():
        line = f"  {name:22} {(probe.__doc__ or '').splitlines()[0]}"
        try:
            first_answer(probe, found)
            able.append(line)
        except InputError:
            unable.append(line)
    steps = store.snapshot_steps()
    head = f"{chosen.run}: snapshots of steps {', '.join(map(str, steps))}" if steps else f"{chosen.run}: none stored"
    below = ["", "For runs of other methods:", *unable] if unable else []
    return "\n".join([head, "", *able, *below, "", f"ka-explore probe {chosen.run} NAME prints one."])


def as_text(result: Result, head: list[str], rows: list[list[Any]]) -> str:
    """A table a person can read: of many samples how they are distributed, of many rows the first."""
    if isinstance(result, Distribution):
        head, rows = ["group", "samples", "least", "median", "mean", "most"], []
        for name, values in result.values.items():
            known = values[np.isfinite(values)]
            numbers = [float(f(known)) for f in (np.min, np.median, np.mean, np.max)] if len(known) else [None] * 4
            rows.append([name, len(known), *numbers])
    unit = getattr(result, "unit", "")
    title = heading(result) + (f" ({unit})" if unit and isinstance(result, (Matrix, Distribution)) else "")
    table = text_table(head, rows[:SHOWN])
    lines = [title, table[0], "-" * max(map(len, table)), *table[1:]]
    if len(rows) > SHOWN:
        lines.append(f"… {len(rows) - SHOWN} more rows: --format csv prints all.")
    lines += [f"{name}: {value:.4g}" for name, value in getattr(result, "levels", {}).items()]
    if not isinstance(result, (Scalars, Distribution)):  # theirs is in the heading
        lines += filter(None, [getattr(result, "note", "")])
    return "\n".join(lines)


def figure_of(store: Store, chosen: argparse.Namespace) -> Any:
    """The figure that was asked for."""
    from ka_explore.plots import draw_comparison, draw_steps, draw_terms, figure_for

    if chosen.name == "diagram":
        from ka_explore.report.diagram import diagram

        run = opened(chosen.run, chosen.problem)
        return figure_for(diagram(run if chosen.step is None else run.rewind(chosen.step)), chosen.size)
    if chosen.name == "terms":
        figure = figure_for(Scalars({}), chosen.size)  # of that size
        figure.clear()
        draw_terms(list(store.rows(0, chosen.step)), figure.add_subplot())
        return figure
    probe = chosen_probe(chosen)
    if not chosen.steps:
        return figure_for(first_answer(probe, snapshots_of(store, chosen)), chosen.size)
    found = snapshots_of(store, chosen)[::-1]
    few = found[:: max(-(-len(found) // (PICTURES if chosen.name in KINDS else CURVES)), 1)]
    if chosen.name in KINDS:
        frames = film_frames(store, few, how=chosen.name, **problem_options(chosen.option))
        return draw_steps(frames, own_axes=chosen.own_axes)
    if isinstance(first_answer(probe, found[::-1]), Curves):
        return draw_comparison({f"step {s.step}": replace(probe(s), title=chosen.name, step=None) for s in few})
    return figure_for(over_steps(probe, found), chosen.size)


def plot_film(store: Store, chosen: argparse.Namespace, output: Path) -> Path:
    """The film of the embeddings over all stored steps."""
    from ka_explore.plots.film import film_gif, film_html

    if output.suffix.lower() not in (".html", ".gif"):
        raise InputError(f"cannot save {output.name!r}: a film's name ends in .html or .gif.")
    options = problem_options(chosen.option)
    for name in options:
        if name not in ("space", "of", "how"):
            raise unknown("option", name, ("space", "how"), where=" of film")
    frames, name = film_frames(store, snapshots_of(store, chosen)[::-1], **options), str(store.about["name"])
    frames = [frame.on_own_axes() for frame in frames] if chosen.own_axes else frames
    if output.suffix.lower() == ".gif":
        return film_gif(frames, output, title=name)
    film_html(frames, output, title=f"{name}: {frames[-1].title}")
    return output


@space_was_of
@checked
def film_frames(store: Store, snapshots: Sequence[Snapshot], space: str = "", how: Kind = "pca") -> list[Points]:
    """Snapshots drawn on the axes of the run, coloured by class or, where that is unknown, by who claims the image."""
    from ka_explore.report.space import alike, coloured_by, linear, what_to_draw

    space, shown = (space, alike(snapshots, space)) if space else what_to_draw(snapshots)
    return [coloured_by(p, s) for p, s in zip(linear([store], space, shown, how), shown, strict=True)]


@contextmanager
def needing(what: str) -> Iterator[None]:
    """Within the ``with``: a package that is not installed becomes an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{what} needs {error.name}: pip install 'ka-explore[plots]'.") from error
