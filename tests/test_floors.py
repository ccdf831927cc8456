"""Lower rooms of the package never import higher ones: the floors of docs/ARCHITECTURE.md."""

from __future__ import annotations

import ast
from pathlib import Path

import letterrec

FLOORS = (
    *("errors", "progress", "files", "processes", "config"),
    *("data", "nn", "training", "embeddings", "identifiers", "tokenizers", "linear"),
    *("decoding", "recommenders", "baselines", "evaluation", "runs", "stages", "pipeline"),
    *("serving", "api", "reports", "cluster", "studies", "cli"),
)
SOURCE = Path(letterrec.__file__).parent


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a module names in its imports, wherever they stand in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts = [name.split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "letterrec" and len(p) > 1}
    return found & {room_of(p) for p in SOURCE.iterdir()}


def test_no_room_imports_a_higher_one() -> None:
    climbs = [
        f"{path.relative_to(SOURCE)} -> {room}"
        for path in sorted(SOURCE.rglob("*.py"))
        for room in sorted(imported(path))
        if room_of(path) in FLOORS and FLOORS.index(room_of(path)) < FLOORS.index(room)
    ]
    assert climbs == []


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms == set(FLOORS)


def test_the_method_is_told_on_150_lines() -> None:
    assert len((SOURCE / "pipeline.py").read_text("utf-8").splitlines()) <= 150
