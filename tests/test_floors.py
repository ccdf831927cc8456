"""Lower rooms of the package never import higher ones: the floors of docs/ARCHITECTURE.md."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import letterrec

FLOORS = (
    *("errors", "progress", "files", "processes", "config"),
    *("data", "nn", "training", "embeddings", "identifiers", "tokenizers", "linear"),
    *("decoding", "recommenders", "baselines", "evaluation", "runs", "stages", "pipeline"),
    *("serving", "api", "reports", "cluster", "studies", "cli"),
)
SOURCE = Path(letterrec.__file__).parent


def name_of(path: Path) -> str:
    """The dotted name of a module, which a package has of its folder."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The room that a module is of; ``""`` of the package itself."""
    return ".".join(module.split(".")[1:2])


def imported(module: str, source: str | None = None) -> set[str]:
    """Modules of the package that a module names in its imports, wherever they stand in it.

    What is imported from a package without being a module is of the package itself.
    """
    found = set()
    for node in ast.walk(ast.parse(source or MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found & set(MODULES)


def test_no_room_imports_a_higher_one() -> None:
    climbs = [
        f"{module} -> {other}"
        for module in MODULES
        for other in sorted(imported(module))
        if room_of(module) in FLOORS
        and room_of(other) in FLOORS
        and FLOORS.index(room_of(module)) < FLOORS.index(room_of(other))
    ]
    assert climbs == []


@pytest.mark.parametrize("source", ["import letterrec", "from letterrec import fit"])
def test_what_people_import_is_seen(source: str) -> None:
    assert imported("letterrec.files", source) == {"letterrec"}


def test_only_the_command_line_imports_what_people_import() -> None:
    inside = [module for module in MODULES if room_of(module) in FLOORS]
    assert [m for m in inside if "letterrec" in imported(m) and room_of(m) != "cli"] == []


def test_no_siblings_import_each_other_in_a_circle() -> None:
    """Modules and packages that stand side by side in a room have floors of their own."""
    for room in {name.rpartition(".")[0] for name in MODULES} - {"", "letterrec"}:
        below: dict[str, set[str]] = {}
        for module in (name for name in MODULES if name.startswith(f"{room}.")):
            others = [other for other in imported(module) if other.startswith(f"{room}.")]
            mine, *named = (m.removeprefix(f"{room}.").split(".")[0] for m in (module, *others))
            below[mine] = below.get(mine, set()) | (set(named) - {mine})
        tuple(TopologicalSorter(below).static_order())  # raises CycleError, which names the circle


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module) for module in MODULES} - {"", "__main__"}
    assert rooms == set(FLOORS)


def test_the_method_is_told_on_150_lines() -> None:
    assert len((SOURCE / "pipeline.py").read_text("utf-8").splitlines()) <= 150
