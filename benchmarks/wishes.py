"""Wishes in words: what they add to histories, beside dense retrieval; what they rule out; speed.

Each test case gets a wish made of its target's category. Four ways answer it: the run beside the
history, the run by the wish alone, dense retrieval (cosine of the wish and the items' content), and
dense retrieval whose first items the run ranks by the history; how many is chosen on validation.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import letterrec
from letterrec.data import Dataset, Histories
from letterrec.data.splits import HeldOut, sample_cases
from letterrec.decoding.ranker import Queries, Ranker
from letterrec.embeddings.similarity import unit
from letterrec.evaluation.metrics import ranks_of, standard_errors, summarise
from letterrec.recommenders.wishes.parsing import Wish
from letterrec.recommenders.wishes.wording import (
    TEMPLATES,
    described,
    singular,
    wishes_of,
    words_in,
)
from letterrec.serving.engine import Engine
from sides import circumstances, command_line, parsed

PHRASES = (  # none is in TEMPLATES
    "what would you suggest in the way of {}",
    "my sister asked for {} on her birthday",
    "hoping to come across {} today",
    "do you sell {}",
    "could really use {} right now",
    "running out of {}, what next",
)
OTHER_WORDS = {  # for Beauty's categories, of words that none of its items has
    "Nail Polish": "tinting for fingertips",
    "Shampoos": "rinsing tresses",
    "Conditioners": "untangling strands",
    "Lotions": "to moisturise and moisten",
    "Creams & Moisturizers": "unguent to moisturise",
    "Eau de Parfum": "fragrant perfumery",
    "Eau de Toilette": "odour for gentlemen",
    "Mascara": "blackening, fluttery",
    "Lipstick": "colouring for my pout",
    "Lip Glosses": "smackers colouring",
    "Hair Regrowth Treatments": "balding, baldness",
    "Body Scrubs": "sloughing grains",
    "Scrubs": "scouring grains",
    "Masks": "facepack",
    "Flattening Irons": "ironing to straighten tresses",
    "Hair Dryers": "blow-drying",
    "Self-Tanners & Bronzers": "sunbathing",
    "Concealers & Neutralizers": "hiding, cover-up",
    "Powder": "powdery dusting, shine-free",
    "Hair Sprays": "lacquered coiffure",
    "Fake Eyelashes & Adhesives": "fluttery fakes",
    "Deodorants & Antiperspirants": "sweaty armpits, perspiration",
    "Body Washes": "shower-time",
    "Blush": "cheekbones",
    "Chemical Hair Dyes": "colouring tresses",
    "Wigs": "fakes over baldness",
}
FAR = (  # what no shop for beauty has
    "motor oil for tractors",
    "a history of the roman empire",
    "garden hose",
    "electric guitar strings",
    "usb charging cable",
    "car tires for winter",
    "chess set",
    "cordless drill",
    "dog food",
    "a novel about pirates",
    "running shoes",
    "laptop with a large screen",
    "frozen pizza",
    "plane tickets to paris",
    "kitchen knives",
    "fishing rod",
    "science fiction movie",
    "a tent for two",
    "violin lessons",
    "printer paper",
    "light bulbs",
    "bicycle pump",
    "tax software",
    "a desk lamp",
)
RERANKED = (20, 50, 100, 200, 500)
K = 10


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("run", type=Path, help="a run that follows wishes")
    parser.add_argument("--users", type=int, default=5000, help="test cases, at most")
    parser.add_argument("--speed", action="store_true", help="nothing but the speed")
    options = parsed(parser)
    engine = letterrec.load(options.run, edits=False)
    if not engine.model.follows_instructions or engine.content is None:
        sys.exit(f"{options.run} follows no wishes; fit with --set wishes.enabled=true")
    bench = Bench(engine.ranker, engine.dataset, engine.content, options.users)
    if options.speed:
        print(json.dumps(bench.speed(options.repeats)))
        return
    found: dict[str, Any] = {
        "recall@10": bench.wordings(),
        "exclusion": bench.exclusion(),
        "nothing near": nothing_near(engine),
        "users per second": bench.speed(options.repeats),
        **circumstances(),
    }
    print(json.dumps(found, indent=None if options.json else 2))


class Bench:
    """The cases of a run, and the ways to answer them."""

    def __init__(
        self, ranker: Ranker, dataset: Dataset, content: NDArray[np.float32], users: int
    ) -> None:
        self.ranker, self.dataset = ranker, dataset
        self.content = torch.from_numpy(unit(content))
        self.encoder = ranker.recommender.wishes.encoder  # type: ignore[attr-defined]
        self.names = [path[-1] if path else "" for path in dataset.categories or ()]
        self.cases = self._named(sample_cases(dataset.held_out("test"), users, 0))
        self.valid = self._named(sample_cases(dataset.held_out("valid"), users // 4, 0))

    def _named(self, cases: HeldOut) -> HeldOut:
        return cases.take(np.flatnonzero([bool(self.names[t]) for t in cases.targets]))

    def wordings(self) -> dict[str, Any]:
        """Recall@10 of every way, by how wishes are worded."""
        random = np.random.default_rng(0)
        depth = max(
            RERANKED, key=lambda n: self._reranked(self.valid, self._category(self.valid), n)
        )
        plain = self._category(self.cases)
        phrased = [PHRASES[random.integers(len(PHRASES))].format(wish) for wish in plain]
        known = {singular(w) for text in self.dataset.texts or () for w in words_in(text)}
        other = {
            name: words
            for name, words in OTHER_WORDS.items()
            if not any(singular(word) in known for word in words_in(words))
        }
        rows = np.flatnonzero([self.names[t] in other for t in self.cases.targets])
        held = self.cases.take(rows)
        wordings = {
            "the category": (self.cases, plain),
            "the category in phrases that training had none of": (self.cases, phrased),
        }
        if len(rows):
            wordings["other words for the category, which no item has"] = (
                held,
                [other[self.names[t]] for t in held.targets],
            )
        return {
            "first items of dense retrieval that are ranked again": depth,
            **{name: self._ways(*asked, depth) for name, asked in wordings.items()},
        }

    def _category(self, cases: HeldOut) -> list[str]:
        return [self.names[target].casefold() for target in cases.targets]

    def _ways(self, cases: HeldOut, wishes: list[str], depth: int) -> dict[str, Any]:
        nothing = HeldOut(cases.users, Histories.from_lists([[]] * len(cases)), cases.targets)
        ways: dict[str, Callable[[], NDArray[np.int64]]] = {
            "wish and history": lambda: self._lists(cases, wishes),
            "history alone": lambda: self._lists(cases),
            "wish alone": lambda: self._lists(nothing, wishes),
            "dense retrieval": lambda: self._dense(wishes, K),
            "dense retrieval, ranked again by the history": lambda: self._again(
                cases, wishes, depth
            ),
        }
        measured: dict[str, Any] = {"cases": len(cases)}
        for name, answer in ways.items():
            ranks = ranks_of(answer(), cases.targets)
            measured[name] = {
                "recall@10": summarise(ranks)["recall@10"],
                "ndcg@10": summarise(ranks)["ndcg@10"],
                "standard error": standard_errors(ranks)["recall@10"],
            }
        return measured

    def _lists(
        self, cases: HeldOut, wishes: Sequence[str] = (), among: torch.Tensor | None = None
    ) -> NDArray[np.int64]:
        parts = []
        for start in range(0, len(cases), 256):
            rows = np.arange(start, min(start + 256, len(cases)))
            asked = [wishes[row] for row in rows.tolist()] if wishes else ()
            allowed = None if among is None else among[rows]
            queries = Queries(cases.histories.take(rows), K, allowed=allowed, instructions=asked)
            parts.append(self.ranker.rank(queries).items.numpy())
        return np.concatenate(parts)

    def _dense(self, wishes: Sequence[str], k: int) -> NDArray[np.int64]:
        asked = torch.from_numpy(np.concatenate([self.encoder([wish]) for wish in wishes]))
        return (asked @ self.content.T).topk(k, dim=1).indices.numpy()

    def _again(self, cases: HeldOut, wishes: list[str], depth: int) -> NDArray[np.int64]:
        first = torch.from_numpy(self._dense(wishes, min(depth, self.dataset.n_items)))
        among = torch.zeros(len(cases), self.dataset.n_items, dtype=torch.bool)
        return self._lists(cases, among=among.scatter_(1, first, value=True))

    def _reranked(self, cases: HeldOut, wishes: list[str], depth: int) -> float:
        return summarise(ranks_of(self._again(cases, wishes, depth), cases.targets))["recall@10"]

    def exclusion(self) -> dict[str, Any]:
        """What is still recommended of a category that is ruled out: the one that the history alone
        has most of among its first items, unless the target is of it.
        """
        before = self._lists(self.cases)
        excluded, rows = [], []
        for row, (items, target) in enumerate(zip(before, self.cases.targets, strict=True)):
            names = [self.names[i] for i in items if self.names[i] and self.names[i] != "Face"]
            most = max(sorted(set(names)), key=names.count, default="")
            wish = f"no {most.casefold()}"
            is_read = Wish.parse(wish).excluded == (most.casefold(),)
            if is_read and most not in (self.dataset.categories or ())[target]:
                excluded.append(most)
                rows.append(row)
        cases = self.cases.take(np.array(rows))
        wishes = [f"no {name.casefold()}" for name in excluded]
        paths = self.dataset.categories or ()
        lists = {
            "wish and history": self._lists(cases, wishes),
            "history alone": before[rows],
            "dense retrieval": self._dense(wishes, K),
        }
        return {
            "cases": len(cases),
            **{
                name: {
                    "share of the first ten that is ruled out": float(
                        np.mean(
                            [
                                name in paths[item]
                                for line, name in zip(found, excluded, strict=True)
                                for item in line
                                if item >= 0
                            ]
                        )
                    ),
                    "recall@10": summarise(ranks_of(found, cases.targets))["recall@10"],
                }
                for name, found in lists.items()
            },
        }

    def speed(self, repeats: int) -> dict[str, dict[str, float]]:
        """Users a second in batches of 256, the best of some turns: by the clock, and of processor
        time, which on one thread is what an idle core does in a second, also on a busy machine.
        """
        random = np.random.default_rng(1)
        n = min(2048, len(self.cases))
        cases = self.cases.take(np.arange(n))
        plain = self._category(cases)

        def best(wishes: Callable[[], Sequence[str]]) -> dict[str, float]:
            rates: dict[str, list[float]] = {"clock": [], "processor": []}
            for _ in range(repeats):
                asked = wishes()
                clock, processor = time.perf_counter(), time.process_time()
                self._lists(cases, asked)
                rates["processor"].append(n / (time.process_time() - processor))
                rates["clock"].append(n / (time.perf_counter() - clock))
            return {name: max(of_turns) for name, of_turns in rates.items()}

        def new() -> list[str]:  # no text twice: nothing is remembered
            return [f"{wish} {random.integers(10**6)}" for wish in plain]

        self._lists(cases, plain)
        return {
            "without wishes": best(lambda: ()),
            "with wishes that were asked before": best(lambda: plain),
            "with wishes that are new, which are embedded first": best(new),
        }


def nothing_near(engine: Engine) -> dict[str, Any]:
    """Of wishes that no item answers, and of made ones that one does, how many are told apart."""
    dataset = engine.dataset
    random = np.random.default_rng(123)
    items = described(dataset.titles, dataset.texts or (), dataset.categories)
    some = random.choice(len(items), min(500, len(items)), replace=False)
    met = [wish for i in some for wish in wishes_of(items[i], 1, random, clear=True) if wish]
    return {
        "said of wishes for other shops": float(np.mean([not engine.model.meets(w) for w in FAR])),
        "not said of": [wish for wish in FAR if engine.model.meets(wish)],
        "said of wishes made of items": float(np.mean([not engine.model.meets(w) for w in met])),
    }


if __name__ == "__main__":
    assert not set(PHRASES) & set(TEMPLATES)
    main()
