"""A saved run in a workbench where there is no torch: it is looked at, and what needs torch says so."""

import subprocess
import sys

import pytest

from ka_explore import Run

pytest.importorskip("anywidget", reason="needs the extra lab: pip install 'ka-explore[lab]'")

LOOKS = """
import sys
sys.modules["torch"] = None
from ka_explore.errors import InputError
from ka_explore.panels import workbench

with workbench(sys.argv[1]) as bench:
    for name in ("points", "history", "tables", "samples"):
        bench.panels[name].settle()
    assert bench.panels["points"].get_state()["film"]
    bench.select([1, 2]).colour("class")
    print(bench)
    try:
        bench.advance(1)
    except InputError as error:
        print(error)
    bench.play()
    bench._session.driver.settle()
    print(bench._session.error)
    print(bench.panels["what_if"].controls["why"])
    assert bench._static.bundle()["image/png"]
    print(bench.diagnose())
assert not [name for name in sys.modules if name.startswith("torch.")]
"""


def test_a_folder_is_looked_at_without_torch_and_what_needs_it_says_so(tiny_problem, tmp_path):
    options = {"batch_size": 8, "width": 4, "blocks": 1, "snapshot_every": 3}
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    Run(problem, name="base", folder=tmp_path / "base", steps=6, **options).advance(None, progress=False)
    command = [sys.executable, "-W", "error", "-c", LOOKS, str(tmp_path / "base")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "base: step 6 of 6" in done.stdout
    assert "checks" in done.stdout or "warning" in done.stdout.lower()
    assert done.stdout.count("to train or rewind 'base' needs torch: pip install torch") == 2
    assert "to fork with other options needs torch" in done.stdout
