"""The words of the command line: commands, their options, and their help."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ka_explore import __version__

Add = Callable[..., argparse.ArgumentParser]
"""Makes a command of its name, the module that holds it, what it does, and examples."""


@dataclass(frozen=True)
class Known:
    """What the help of training names: problems, methods and tables."""

    problems: Sequence[str] = ()
    methods: Sequence[str] = ()
    tables: Sequence[str] = ()


def known_names() -> Known:
    """The names there are; none where there is no torch, without which nothing trains."""
    try:
        from ka_explore.benchmark.tables import SECTIONS
        from ka_explore.methods import METHODS
        from ka_explore.toy import PROBLEMS
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return Known()
    return Known(tuple(PROBLEMS), tuple(METHODS), tuple(SECTIONS))


def make_parser(*, light: bool = False) -> argparse.ArgumentParser:
    """The commands and their options.

    Args:
        light: leave out what the help of training says of problems and methods, which takes seconds to import.
    """
    known = Known() if light else known_names()
    parser = argparse.ArgumentParser(
        prog="ka-explore",
        description="Explore knowledge amalgamation: several frozen teachers, no label, one small student.",
        epilog="ka-explore COMMAND --help tells more. Start with: ka-explore demo",
    )
    parser.add_argument("--version", action="version", version=f"ka-explore {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, module: str, text: str, examples: Sequence[str] = ()) -> argparse.ArgumentParser:
        lines = "\n".join(f"  ka-explore {name} {example}" for example in examples)
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n{lines}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=f"ka_explore.cli.{module}", command=f"command_{name}")
        return sub

    add_training(add, known)
    add_looking(add)
    return parser


def add_training(add: Add, known: Known) -> None:
    """The commands that train, and what they make."""
    problems, methods = ", ".join(known.problems), ", ".join(known.methods)
    run = add("run", "training", "train a student on a problem and keep the run in a folder")
    run.add_argument("problem", help=f"{problems}, or package.module:function that returns a Problem")
    run.add_argument("method", nargs="?", default="common_feature", help=f"{methods} (default: %(default)s)")
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

    resume = add("resume", "training", "go on with a run from where it stopped")
    resume.add_argument("run", type=Path, help="the run's folder")
    resume.add_argument("--steps", type=int, help="how many steps to go on (default: to the end)")
    add_problem(resume)

    fork = add("fork", "training", "same past, other options from a step on; then run it to the end")
    fork.add_argument("run", type=Path, help="the folder of the run to fork")
    fork.add_argument("name", help="of the fork, which becomes a folder beside the run's")
    fork.add_argument("--at", type=int, help="the step to fork at (default: the run's last)")
    fork.add_argument("--stay", action="store_true", help="make the fork and do not run it")
    add_pairs(fork, "--set", "an option of the method; see ka-explore methods")
    add_problem(fork)

    export = add("export", "training", "write a run's student as safetensors and JSON")
    export.add_argument("run", type=Path, help="the run's folder")
    export.add_argument("folder", type=Path, help="where to write")
    export.add_argument("--pt2", action="store_true", help="also write student.pt2, a torch.export program")
    add_problem(export)

    choices = sorted(known.problems) or None
    several = add("trial", "training", "methods over seeds on one problem, paired, as a table")
    several.add_argument("problem", choices=choices, nargs="?", default="mnist", help="default: %(default)s")
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

    page = add("tables", "training", "every method and baseline on every toy problem, over seeds, as Markdown")
    page.add_argument("problems", nargs="*", help=f"of {', '.join(known.tables)} (default: all)")
    page.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    page.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    page.add_argument("--jobs", type=int, default=1, help="processes of one thread each (default: %(default)s)")
    page.add_argument("--validation", action="store_true", help="mark on validation images, leave test images alone")

    demo = add("demo", "training", "from nothing to an amalgamated student: teachers, three seeds, table and report")
    demo.add_argument("--folder", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    demo.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    demo.add_argument("--jobs", type=int, default=1, help="processes of one thread each (default: %(default)s)")

    listed = add("methods", "training", "list the methods, or one method's options and forms")
    listed.add_argument("method", nargs="?", help=methods)


def add_looking(add: Add) -> None:
    """The commands that look at runs."""
    comparison = add("compare", "viewing", "mark runs on the test images, with the teachers beside them")
    comparison.add_argument("runs", type=Path, nargs="+", help="the runs' folders")
    comparison.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_problem(comparison)

    page = add(
        "report",
        "viewing",
        "write runs up as one page with everything there is to see",
        ("runs/base -o report.html", "runs/base runs/no-mmd -o both.html --embedding tsne", "runs/base -o report.md"),
    )
    page.add_argument("runs", type=Path, nargs="+", help="the runs' folders")
    page.add_argument("-o", "--output", type=Path, help="the file (default: report.html or report.md)")
    page.add_argument("--format", choices=("html", "md"), help="default: by the file's ending, else html")
    page.add_argument(
        "--embedding",
        choices=("pca", "tsne", "umap"),
        default="pca",
        help="draw features in this way too, besides PCA: seconds to minutes, kept on disk (default: %(default)s)",
    )
    add_problem(page)

    doctor = add(
        "diagnose",
        "viewing",
        "say what is wrong with a run, worst first, why it hurts and what to try",
        ("runs/base", "runs/base --json"),
    )
    doctor.add_argument("run", type=Path, help="the run's folder")
    doctor.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_problem(doctor)

    probe = add(
        "probe",
        "viewing",
        "print the numbers of a probe of a stored snapshot; needs no torch",
        (
            "runs/base                                  which probes there are",
            "runs/base agreement",
            "runs/base mmd --step 100 --format csv",
            "runs/base worst_channels --option count=3 --option 'teacher=digits 5-9'",
        ),
    )
    probe.add_argument("run", type=Path, help="the run's folder")
    probe.add_argument("name", nargs="?", help="of the probe; without it all are listed")
    probe.add_argument("--step", type=int, metavar="K", help="of the snapshot (default: the last that fits)")
    probe.add_argument("--format", choices=("text", "csv", "json"), default="text", help="default: %(default)s")
    add_pairs(probe, "--option", "an option of the probe, such as space=feature")
    add_problem(probe)

    plot = add(
        "plot",
        "viewing",
        "draw a probe, the diagram, the terms of the loss or the film of the embeddings into a file",
        (
            "runs/base pca -o common.png --step 100",
            "runs/base agreement -o agreement.svg --steps",
            "runs/base diagram -o diagram.pdf",
            "runs/base terms -o terms.png --size column",
            "runs/base film -o film.html                 or film.gif",
        ),
    )
    plot.add_argument("run", type=Path, help="the run's folder")
    plot.add_argument("name", help="of a probe, or diagram, terms, film")
    plot.add_argument(
        "-o",
        "--output",
        type=Path,
        help="ends in png, svg or pdf; of a film in html or gif (default: NAME.png, film.html)",
    )
    when = plot.add_mutually_exclusive_group()
    when.add_argument("--step", type=int, metavar="K", help="of the snapshot (default: the last that fits)")
    when.add_argument("--steps", action="store_true", help="over all steps: lines, or pictures side by side")
    plot.add_argument(
        "--size", choices=("column", "page", "projector"), default="page", help="to be shown in (default: %(default)s)"
    )
    add_pairs(plot, "--option", "an option of the probe, such as space=feature")
    add_problem(plot)

    listing = add("list", "viewing", "list the runs in a folder")
    listing.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="default: %(default)s")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")


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
