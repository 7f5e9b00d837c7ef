"""Memory does not grow with the number of steps."""
# ruff: noqa: T201 - the table is the point

import gc
import tracemalloc
from pathlib import Path

import pytest

from ka_explore import toy
from ka_explore.run.run import Run

MEGABYTE = 2**20


def resident() -> float:
    """What the process holds in memory, in megabytes."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_of_a_run(tmp_path: Path) -> None:
    """2 000 steps after the first 200, with checkpoints and snapshots; then Python's own objects over 200 more."""
    run = Run(toy.digits(), folder=tmp_path / "run", steps=2600, snapshot_every=200)
    held = {}
    for steps in (200, 500, 500, 500, 500):
        run.advance(steps)
        held[run.step] = resident()
    tracemalloc.start()
    run.advance(200)  # what is made once, and what one step makes and the next one frees, is there from here on
    before = tracemalloc.get_traced_memory()[0]
    run.advance(200)
    python = (tracemalloc.get_traced_memory()[0] - before) / MEGABYTE
    tracemalloc.stop()
    print("\nMemory of a run on toy.digits()\n  step   resident MB   growth MB")
    for step, megabytes in held.items():
        print(f"{step:6}{megabytes:14.1f}{megabytes - held[200]:12.1f}")
    print(f"Python objects, 200 further steps: {python:.3f} MB more")
    assert held[2200] - held[200] < 8
    assert python < 0.1
