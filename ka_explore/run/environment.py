"""Where a run computes: device, precision, threads, and the versions for which exactness is promised."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ka_explore.errors import InputError, check_known

MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))  # more only stand in each other's way, and thousands end the process


def choose_device(device: str) -> torch.device:
    """A device by name. Raises InputError for an unknown one, or a GPU that is not there."""
    check_known("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': torch sees no GPU here; use 'auto' or 'cpu'.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def check_precision(precision: str, device: torch.device) -> None:
    """Raises InputError for an unknown precision, or mixed precision on a CPU, where it is slower."""
    check_known("precision", precision, ("float32", "bfloat16"))
    if precision == "bfloat16" and device.type != "cuda":
        raise InputError("precision='bfloat16' is for a GPU: on most CPUs it is several times slower. Use 'float32'.")


def environment(device: torch.device) -> dict[str, str]:
    """What bit-exactness is promised for: machine and versions."""
    return {
        "ka_explore": version("ka-explore"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor()


@contextmanager
def computing(threads: int | None) -> Iterator[None]:
    """Within the ``with``: so many threads of torch (None leaves them), and deterministic kernels on a GPU."""
    before = torch.get_num_threads()
    threads = None if threads is None else min(threads, MOST_THREADS)
    try:
        if threads is not None and threads != before:  # setting makes torch forget how it prepared its convolutions
            torch.set_num_threads(threads)
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=True):
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
