"""The rooms of the package and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import astro_sr_plugin

ROOT = Path(astro_sr_plugin.__file__).parent
NAME = "astro_sr_plugin"

# What every room may import, beside itself and the rooms below.
GROUND = {
    "allocation",
    "constants",
    "exceptions",
    "processes",
    "progress",
    "scheduler",
    "tasks",
    "threads",
}
# Room -> rooms it may import.
ROOMS = {
    "allocation": set(),
    "constants": set(),
    "exceptions": set(),
    "processes": set(),
    "progress": set(),
    "scheduler": set(),
    "tasks": set(),
    "threads": set(),
    "data": set(),
    "stretch": {"data"},
    "metrics": set(),
    "measurement": {"data"},
    "stars": {"data", "measurement"},
    "registration": {"data", "measurement", "stars"},
    "stacking": {"data", "measurement", "stars", "registration"},
    "models": set(),
    "inference.tiling": set(),
    "inference": {"models"},
    "simulation": set(),
    "restoration": {"data", "stretch", "measurement", "stars", "inference", "models"},
    "enhancement": {"data", "measurement", "stars", "inference", "models", "restoration"},
    "validation": {"data", "metrics", "measurement"},
    "training.evaluate": {"models", "simulation", "stretch", "metrics", "training", "enhancement"},
    "training.calibrate": {"models", "simulation", "metrics", "training", "enhancement"},
    "training.measured_psfs": set(),
    "training.collect": {"data", "training"},
    "training": {"models", "simulation", "stretch", "metrics"},
    "report": {"data", "metrics", "measurement", "stretch", "validation"},
    "batch": {"data", "enhancement", "restoration", "inference", "models"},
}
# Room -> packages it never imports, not even inside a function.
FORBIDDEN = {
    "data": {"torch"},
    "stretch": {"torch"},
    "metrics": {"torch"},
    "measurement": {"torch"},
    "stars": {"torch"},
    "registration": {"torch"},
    "stacking": {"torch"},
    "validation": {"torch"},
    "report": {"torch"},
    "models": {"astropy", "sep", "photutils"},
    "inference.tiling": {"torch", "astropy"},
    "inference": {"astropy", "sep", "photutils"},
    "simulation": {"astropy", "galsim", "sep", "photutils"},
    "training.evaluate": set(),
    "training.calibrate": set(),
    "training.measured_psfs": set(),
    "training": {"astropy", "galsim", "sep", "photutils"},
}
FILES = sorted(path for path in ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """Return the longest entry of the table that the module stands in, else its first part."""
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return next((name for name in reversed(names) if name in ROOMS), parts[0])


def imports(path: Path, *, types: bool = False) -> set[str]:
    """Return every absolute module name that a file imports, those for types alone if asked for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") > types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        todo += ast.iter_child_nodes(node)
    return found


def violations(path: Path) -> list[str]:
    """Return what a file imports against the tables."""
    module = module_of(path)
    room = room_of(module)
    found = []
    for name in imports(path):
        package, _, inner = name.partition(".")
        if package in FORBIDDEN.get(room, set()):
            found.append(f"{module} imports {name}")
        if package != NAME or room not in ROOMS or inner == "__version__":
            continue
        other, family = room_of(inner), room.split(".")[0]
        allowed = ROOMS[room] | GROUND
        if other.split(".")[0] not in allowed | {family}:
            found.append(f"{module} imports {name}")
    return found


def test_rooms_import_only_what_they_may() -> None:
    assert [line for path in FILES for line in violations(path)] == []


def test_the_command_line_imports_public_names_only() -> None:
    private = [
        f"{module_of(path)} imports {name}"
        for path in FILES
        if room_of(module_of(path)) == "cli"
        for name in imports(path)
        if name.split(".")[0] == NAME
        and any(part.startswith("_") and part != "__version__" for part in name.split("."))
    ]
    assert private == []


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {module_of(path): path for path in FILES}
    uses: dict[str, set[str]] = {}
    for module, path in modules.items():
        inner = {
            name.partition(".")[2]
            for name in imports(path, types=True)
            if name.startswith(NAME + ".")
        }
        names = {name if name in modules else name.rpartition(".")[0] for name in inner}
        uses[module] = (names & modules.keys()) - {module, ""}
    while free := [module for module, others in uses.items() if not others & uses.keys()]:
        for module in free:
            del uses[module]
    assert sorted(uses) == []


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", [NAME, f"{NAME}.cli"])
def test_importing_the_face_is_light(module: str) -> None:
    heavy = ("torch", "matplotlib", "astropy", "scipy")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_models_simulation_and_training_need_little() -> None:
    code = f"""
import sys, importlib, pkgutil
class Block:
    blocked = {{"astropy", "photutils", "sep", "reproject", "ccdproc", "galsim", "skimage",
               "tifffile", "PIL", "matplotlib"}}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.blocked:
            raise ImportError(name + " is not for this room")
sys.meta_path.insert(0, Block())
for room in ("models", "simulation", "training"):
    package = importlib.import_module("{NAME}." + room)
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if info.name.split(".")[-1] not in ("evaluate", "measured_psfs", "__main__"):
            importlib.import_module(info.name)
"""
    run_python(code)
