"""Memory does not grow with the number of steps."""

import gc
import tracemalloc
from pathlib import Path

import pytest

from ka_explore import toy
from ka_explore.run import Run

MEGABYTE = 2**20


def resident() -> float:
    """What the process holds in memory, in megabytes."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_of_a_run(tmp_path: Path) -> None:
    """2 000 further steps, with checkpoints and snapshots, after the first 200."""
    run = Run(toy.digits(), folder=tmp_path / "run", steps=2200, snapshot_every=200)
    run.advance(200)
    tracemalloc.start()
    run.advance(10)  # what one step makes and the next one frees is there from here on
    before, traced = resident(), tracemalloc.get_traced_memory()[0]
    rows = [(run.step, before, 0.0)]
    while not run.done:
        run.advance(500 if run.step > 210 else 490)
        rows.append((run.step, resident(), (tracemalloc.get_traced_memory()[0] - traced) / MEGABYTE))
    tracemalloc.stop()
    print(f"\nMemory of a run on toy.digits()\n{'step':>6}{'resident MB':>14}{'Python objects, MB more':>26}")
    for step, held, python in rows:
        print(f"{step:6}{held:14.1f}{python:26.3f}")
    assert rows[-1][1] - before < 8
    assert rows[-1][2] < 0.5
