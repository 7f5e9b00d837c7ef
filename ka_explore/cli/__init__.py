"""The command line: run · resume · fork · compare · report · diagnose · probe · plot · list · export · trial · demo.

Options of a method come from its ``Config``: ``ka-explore methods NAME`` lists them, ``--set name=value`` sets them.
Looking at a folder (diagnose, probe, plot, list) needs no torch, and does not wait for it to be imported.
"""

import argparse
import importlib
import io
import sys
from collections.abc import Callable, Sequence

from ka_explore.cli.parser import make_parser
from ka_explore.errors import InputError, KaError, brief

__all__ = ["main", "make_parser"]

FAILED = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 after an error that is explained, 130 after Ctrl-C.

    Raises InputError for what is no list of words.
    """
    words = isinstance(arguments, (list, tuple)) and all(isinstance(word, str) for word in arguments)
    if arguments is not None and not words:
        raise InputError(f"main() takes a list of words, got {brief(arguments)}.")
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file may have a name that is no UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        chosen = make_parser(given[0] if given else "").parse_args(given)
        command: Callable[[argparse.Namespace], None] = getattr(importlib.import_module(chosen.module), chosen.command)
        command(chosen)
    except (KaError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != "torch":
            raise
        torch = "this needs torch (pip install torch); diagnose, probe, plot and list do not."
        print(f"ka-explore: {error if isinstance(error, KaError) else torch}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nstopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
    return 0
