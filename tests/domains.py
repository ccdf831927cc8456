"""Two sources with shared users, of whom each wants items of one taste in both."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

TASTES, ITEMS, USERS = 4, 24, 160  # items of each domain
WORDS = ("deep sea diving", "steam locomotives", "roman emperors", "jazz trumpets")


def write_domains(folder: Path) -> list[Path]:
    """The folders ``books`` and ``games``; item ``i`` is of taste ``i % TASTES``, and so is user
    ``u<i>``. What a user does alternates between the two.
    """
    random = np.random.default_rng(1)
    made = []
    for turn, name in enumerate(("books", "games")):
        (folder / name).mkdir(parents=True)
        with (folder / name / "interactions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["user", "item", "timestamp"])
            for user in range(USERS):
                own = random.permutation(np.arange(user % TASTES, ITEMS, TASTES))
                for step, item in enumerate(own):
                    writer.writerow([f"u{user}", item, 1_600_000_000 + 86_400 * (2 * step + turn)])
        with (folder / name / "items.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["item", "title"])
            writer.writerows([i, f"{WORDS[i % TASTES]} {name} no. {i}"] for i in range(ITEMS))
        made.append(folder / name)
    return made
