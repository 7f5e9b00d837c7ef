"""What is declared fits together: bounds, constraints, environment.yml, version, commands of the README."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import ka_explore
from ka_explore.cli import make_parser

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def bounds(requirements: list[str]) -> dict[str, str]:
    pairs = (re.fullmatch(r"([A-Za-z0-9_.-]+)(>=[0-9.]+)", line) for line in requirements if "ka-explore[" not in line)
    return {pair[1]: pair[2] for pair in pairs if pair}


def conda() -> tuple[dict[str, str], list[str]]:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    return bounds(plain), pip


@pytest.mark.parametrize(
    ("seconds", "said", "outcome"),
    [(3, "Short.", "passed"), (5, "Slow: ten runs.", "passed"), (5, "Ten runs.", "failed"), (5, None, "failed")],
)
def test_a_slow_test_must_give_its_reason(request, monkeypatch, seconds, said, outcome):
    suite = request.config.pluginmanager.getplugin(str(ROOT / "tests" / "conftest.py"))
    monkeypatch.setenv("KA_EXPLORE_TEST_SECONDS", "4")
    item = SimpleNamespace(function=SimpleNamespace(__doc__=said))
    report = suite.hurried(item, SimpleNamespace(passed=True, duration=seconds, outcome="passed", longrepr=None))
    assert (report.outcome, report.longrepr is None) == (outcome, outcome == "passed")


def test_the_version_stands_in_one_place():
    assert version("ka-explore") == ka_explore.__version__
    assert f"## {ka_explore.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_environment_yml_has_the_bounds_of_pyproject():
    extras = PROJECT["optional-dependencies"]
    wanted = bounds([*PROJECT["dependencies"], *extras["plots"], *extras["lab"], *extras["toy"]])
    plain, pip = conda()
    from_pip = bounds(pip)
    for name, bound in wanted.items():
        assert {**plain, **from_pip}.get(CONDA_NAMES.get(name, name)) == bound, name
    assert plain["python"] == PROJECT["requires-python"]
    assert "-e ." in pip


def test_every_line_of_environment_yml_is_a_match_spec():
    rattler = pytest.importorskip("rattler", reason='needs py-rattler: pip install "ka-explore[dev]"')
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    for line in environment["dependencies"]:
        if isinstance(line, str):
            assert rattler.MatchSpec(line).name is not None


def test_constraints_are_exact_and_fit_every_bound():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    exact = {}
    for line in lines:
        pair = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][^+ ]*)", line)
        assert pair, line
        exact[pair[1].lower().replace("_", "-")] = pair[2]
    wanted = dict(bounds(PROJECT["dependencies"]))
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= bounds(extra)
    for name, bound in wanted.items():
        have = tuple(int(n) for n in re.findall(r"\d+", exact[name.lower()])[:3])
        need = tuple(int(n) for n in re.findall(r"\d+", bound)[:3])
        assert have >= need, name


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_every_file_that_a_page_names_exists(page):
    named = re.findall(
        r"(?:`|\]\()((?:[\w.-]+/)*[\w-]+\.(?:py|md|json|png|toml|yml|ipynb))[`)]", (ROOT / page).read_text()
    )
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("*.*")]
    there += [
        f"/{p.relative_to(ROOT).as_posix()}"
        for d in ("ka_explore", "tests", "docs", "notebooks")
        for p in (ROOT / d).rglob("*.*")
    ]
    made = {"student.json", "run.json", "common_space.png"}  # by a run, or by what the page shows
    assert [
        name
        for name in named
        if name not in made and not any(path.endswith(f"/{name.removeprefix('../')}") for path in there)
    ] == []


def test_every_command_in_readme_and_contributing_exists():
    commands = next(action for action in make_parser()._actions if action.choices and "run" in action.choices).choices
    makefile = (ROOT / "Makefile").read_text()
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        for command in re.findall(r"^\s*(?:\$ )?ka-explore (\w+)", text, re.MULTILINE):
            assert command in commands, command
        targets = "demo|lab|lecture|test|quick|bench|claims|faults|regime|picture|clean"
        for target in re.findall(rf"\bmake ({targets})\b", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# Every Python block of a page, run as one script, made shorter by replacements that must match.
SHORTER = {
    "README.md": {
        "toy.sprites()": "toy.sprites(unlabelled=40)",
        "toy.mnist()": "toy.digits()",
        "advance_to_end()": "advance(6)",
        ', "common_feature", seed=0)': ', "common_feature", seed=0, snapshot_every=2)',
    },
    "docs/looking.md": {"toy.mnist(), steps=200": "toy.digits(), snapshot_every=2, steps=6", "steps=120": "steps=40"},
}


@pytest.mark.slow
@pytest.mark.parametrize("page", SHORTER)
def test_the_python_of_the_docs_runs(tmp_path, page):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    for old, new in SHORTER[page].items():
        assert old in code
        code = code.replace(old, new)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, timeout=300)
