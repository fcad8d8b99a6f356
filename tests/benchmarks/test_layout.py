"""The folders of the benchmarks import downwards only; every run has its line and options."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import RUNS, main

ROOT = Path(benchmarks.__file__).parent
ORDER = ("truth", "peers", "figures", "real", "fuzz", "runs")


def imports(path: Path) -> set[str]:
    """Return the parts of the benchmarks that a file imports: "folder.module"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks."):
            module = (node.module or "").removeprefix("benchmarks.")
            names = [f"{module}.{alias.name}" for alias in node.names] if "." not in module else []
            found |= set(names or [module])
    return {name for name in found if name.split(".")[0] in ORDER}


def test_a_folder_imports_only_those_before_it_and_files_make_no_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path)
        for folder in ORDER
        for path in (ROOT / folder).glob("*.py")
    }
    for name, found in graph.items():
        for other in found:
            places = [ORDER.index(module.split(".")[0]) for module in (name, other)]
            assert places[0] >= places[1], f"{name} imports {other}"

    def reached(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        for other in graph.get(name, set()):
            reached(other, (*path, name))

    for name in graph:
        reached(name, ())


def test_runs_are_listed_and_others_refused(capsys) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(RUNS)
    assert all(len(line.split()) > 3 for line in lines)
    assert main(["planets"]) == 2
    assert "planets" in capsys.readouterr().err


@pytest.mark.parametrize("name", RUNS)
def test_every_run_states_its_options(name, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "--out DIR" in capsys.readouterr().out
