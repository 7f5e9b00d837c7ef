"""The words of the command line: a function a command adds its options, and its docstring is the help."""

import argparse
import importlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ka_explore import __version__
from ka_explore.errors import checked

Parser = argparse.ArgumentParser
Options = Callable[[Parser], None]

COMMANDS: dict[str, tuple[str, Options, tuple[str, ...]]] = {}
"""By name: the module with its function, what adds its options, and examples of what follows the name."""

PAIRS: dict[str, Any] = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
SHARED: dict[str, dict[str, Any]] = {
    "run": {"type": Path, "help": "the run's folder"},
    "runs": {"type": Path, "nargs": "+", "help": "the runs' folders"},
    "--step": {"type": int, "metavar": "K", "help": "of the snapshot (default: the last that fits)"},
    "--json": {"action": "store_true", "help": "print JSON instead of a table"},
    "--seeds": {"type": int, "default": 3, "help": "how many (default: %(default)s)"},
    "--jobs": {"type": int, "default": 1, "help": "processes of one thread each (default: %(default)s)"},
    "--set": {**PAIRS, "help": "an option of the method; see ka-explore methods"},
    "--option": {**PAIRS, "help": "an option of the probe, such as space=feature"},
    "--problem": {
        "metavar": "MODULE:FUNCTION",
        "help": "what makes the run's problem, where it is not one of ka_explore.toy",
    },
}
"""What several commands take."""


def share(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add options that several commands take."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def command(module: str, *examples: str, opens: str = "") -> Callable[[Options], Options]:
    """Enter a function as the command of its name; one that opens ``run`` or ``runs`` may be told their problem."""

    def entered(options: Options) -> Options:
        def added(parser: Parser) -> None:
            share(parser, *filter(None, [opens]))
            options(parser)
            share(parser, *(["--problem"] if opens else []))

        COMMANDS[options.__name__.rstrip("_")] = f"ka_explore.cli.{module}", wraps(options)(added), examples
        return options

    return entered


@checked
def make_parser(only: str | None = None) -> Parser:
    """The commands, and the options of one or of all: those of training name problems, whose import takes seconds."""
    what = "Explore knowledge amalgamation: several frozen teachers, no label, one small student."
    more = "ka-explore COMMAND --help tells more. Start with: ka-explore demo"
    parser = argparse.ArgumentParser(prog="ka-explore", description=what, epilog=more)
    parser.add_argument("--version", action="version", version=f"ka-explore {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module, options, examples) in COMMANDS.items():
        lines = "\n".join(f"  ka-explore {name} {example}" for example in examples)
        text = str(options.__doc__)
        brief, epilog = text[0].lower() + text[1:].rstrip("."), f"examples:\n{lines}" if examples else None
        shape = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(name, help=brief, description=text, epilog=epilog, formatter_class=shape)
        sub.set_defaults(module=module, command=f"command_{name}")
        if only in (None, name):
            options(sub)
    return parser


@command("training")
def run(parser: Parser) -> None:
    """Train a student on a problem and keep the run in a folder."""
    problems, methods = ", ".join(names_in("toy", "PROBLEMS")), ", ".join(names_in("methods", "METHODS"))
    add = parser.add_argument
    add("problem", help=f"{problems}, or package.module:function that returns a Problem")
    add("method", nargs="?", default="common_feature", help=f"{methods} (default: %(default)s)")
    add("--folder", type=Path, help="where the run is kept (default: runs/METHOD-SEED)")
    add("--tasks", help="the tasks wanted, with commas (default: all that the teachers answer)")
    add("--form", help="a named set of options, such as a published code's: see ka-explore methods")
    add("--seed", type=int, default=0, help="of initialisation and batches (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add("--threads", type=int, help="of torch (default: 1 for small students)")
    add("--precision", default="float32", help="float32, or bfloat16 on a GPU (default: %(default)s)")
    add("--snapshots", type=int, default=50, metavar="K", help="store a snapshot every K steps, 0 for none")
    share(parser, "--set")
    parser.add_argument("--option", **PAIRS, help="an option of the problem, such as preset=few_images or seed=1")


@command("training", opens="run")
def resume(parser: Parser) -> None:
    """Go on with a run from where it stopped."""
    parser.add_argument("--steps", type=int, help="how many steps to go on (default: to the end)")


@command("training")
def fork(parser: Parser) -> None:
    """Same past, other options from a step on; then run it to the end."""
    parser.add_argument("run", type=Path, help="the folder of the run to fork")
    parser.add_argument("name", help="of the fork, which becomes a folder beside the run's")
    parser.add_argument("--at", type=int, help="the step to fork at (default: the run's last)")
    parser.add_argument("--stay", action="store_true", help="make the fork and do not run it")
    share(parser, "--set", "--problem")


@command("training", opens="run")
def export(parser: Parser) -> None:
    """Write a run's student as safetensors and JSON."""
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--pt2", action="store_true", help="also write student.pt2, a torch.export program")


@command("training")
def trial(parser: Parser) -> None:
    """Methods over seeds on one problem, paired, as a table."""
    choices = sorted(names_in("toy", "PROBLEMS")) or None
    parser.add_argument("problem", choices=choices, nargs="?", default="mnist", help="default: %(default)s")
    text = "names with commas, each perhaps with a form or options, as in layer_wise/paired or common_feature:"
    text += "mmd_weight=1+norm=none (default: common_feature,distillation,ensemble,oracle)"
    parser.add_argument("--methods", help=text)
    share(parser, "--seeds", "--jobs")
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    share(parser, "--json")
    parser.add_argument("--option", **PAIRS, help="an option of the problem, such as preset=few_images")


@command("training")
def tables(parser: Parser) -> None:
    """Every method and baseline on every toy problem, over seeds, as Markdown."""
    names = ", ".join(names_in("benchmark.tables", "SECTIONS"))
    parser.add_argument("problems", nargs="*", help=f"of {names} (default: all)")
    share(parser, "--seeds", "--jobs")
    parser.set_defaults(seeds=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--validation", action="store_true", help="mark on validation images, leave test images alone")


@command("training")
def demo(parser: Parser) -> None:
    """From nothing to an amalgamated student: teachers, two seeds, table and report."""
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    share(parser, "--seeds", "--jobs")
    parser.set_defaults(seeds=2)


@command("training")
def methods(parser: Parser) -> None:
    """List the methods, or one method's options and forms."""
    parser.add_argument("method", nargs="?", help=", ".join(names_in("methods", "METHODS")))


@command("viewing", opens="runs")
def compare(parser: Parser) -> None:
    """Mark runs on the test images, with the teachers beside them."""
    share(parser, "--json")


@command(
    "viewing",
    "runs/base -o report.html",
    "runs/base runs/no-mmd -o both.html --embedding tsne",
    "runs/base -o report.md",
    opens="runs",
)
def report(parser: Parser) -> None:
    """Write runs up as one page with everything there is to see."""
    parser.add_argument("-o", "--output", type=Path, help="the file (default: report.html or report.md)")
    parser.add_argument("--format", choices=("html", "md"), help="default: by the file's ending, else html")
    text = "draw features in this way too, besides PCA: seconds to minutes, kept on disk (default: %(default)s)"
    parser.add_argument("--embedding", choices=("pca", "tsne", "umap"), default="pca", help=text)


@command("viewing", "runs/base", "runs/base --json", opens="run")
def diagnose(parser: Parser) -> None:
    """Say what is wrong with a run, worst first, why it hurts and what to try."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


@command(
    "viewing",
    "runs/base                                  which probes there are",
    "runs/base agreement",
    "runs/base mmd --step 100 --format csv",
    "runs/base worst_channels --option count=3 --option 'teacher=digits 5-9'",
    opens="run",
)
def probe(parser: Parser) -> None:
    """Print the numbers of a probe of a stored snapshot; needs no torch."""
    parser.add_argument("name", nargs="?", help="of the probe; without it all are listed")
    share(parser, "--step")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text", help="default: %(default)s")
    share(parser, "--option")


@command(
    "viewing",
    "runs/base pca -o common.png --step 100",
    "runs/base class_axes -o classes.png --steps",
    "runs/base agreement -o agreement.svg --steps",
    "runs/base diagram -o diagram.pdf",
    "runs/base terms -o terms.png --size column",
    "runs/base film -o film.html                 or film.gif; --option how=class_axes",
    opens="run",
)
def plot(parser: Parser) -> None:
    """Draw a probe, the diagram, the terms of the loss or the film of the embeddings into a file."""
    parser.add_argument("name", help="of a probe, or diagram, terms, film")
    endings = "ends in png, svg or pdf; of a film in html or gif (default: NAME.png, film.html)"
    parser.add_argument("-o", "--output", type=Path, help=endings)
    when = parser.add_mutually_exclusive_group()
    share(when, "--step")
    when.add_argument("--steps", action="store_true", help="over all steps: lines, or pictures side by side")
    own = "each step of pca, class_axes or film on axes of its own, which show most of it alone"
    parser.add_argument("--own-axes", action="store_true", help=own)
    sizes = ("column", "page", "projector")
    parser.add_argument("--size", choices=sizes, default="page", help="to be shown in (default: %(default)s)")
    share(parser, "--option")


@command("viewing")
def list_(parser: Parser) -> None:
    """List the runs in a folder."""
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="default: %(default)s")
    share(parser, "--json")


def names_in(module: str, table: str) -> list[str]:
    """The names in a table of ours; none where there is no torch, without which nothing trains."""
    try:
        return list(getattr(importlib.import_module(f"ka_explore.{module}"), table))
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return []
