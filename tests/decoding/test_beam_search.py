from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.errors import RequestError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.retrieved import Retrieved

Score = Callable[[int, tuple[int, ...]], Tensor]


class TableDecoder:
    """Scores that depend on the user and on the whole prefix, one prefix at a time."""

    def __init__(self, score: Score, users: list[int], over_legal: bool = False) -> None:
        self._score, self._users, self.over_legal = score, users, over_legal
        self.retrieved = self.wish_effect = None
        self._prefixes: list[list[tuple[int, ...]]] = [[()] for _ in users]

    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        rows = zip(self._users, self._prefixes, strict=True)
        scores = torch.stack([torch.stack([self._score(u, p) for p in ps]) for u, ps in rows])
        if is_open is not None:  # what is said of the others must not matter
            scores[~is_open] = torch.randn(scores.shape[-1])
        return scores

    def advance(self, parents: Tensor, codes: Tensor) -> None:
        assert parents.dtype == codes.dtype == torch.int64
        self._prefixes = [
            [(*old[p], c) for p, c in zip(ps, cs, strict=True)]
            for old, ps, cs in zip(self._prefixes, parents.tolist(), codes.tolist(), strict=True)
        ]


def random_score(sizes: tuple[int, ...]) -> Score:
    def score(user: int, prefix: tuple[int, ...]) -> Tensor:
        seed = hash((user, *prefix)) % 2**31
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(sizes[len(prefix)], generator=generator).mul(2).log_softmax(0)

    return score


def random_identifiers(seed: int, n: int, sizes: tuple[int, ...], shorter: bool) -> Identifiers:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, sizes, (n, len(sizes))).astype(np.int32)
    if shorter:  # the last code of each level ends an identifier
        for level in range(len(sizes) - 1):
            codes[codes[:, level] == sizes[level] - 1, level + 1 :] = -1
    for level in range(1, len(sizes)):
        codes[codes[:, level - 1] < 0, level:] = -1
    return Identifiers(codes, sizes)


def plain_search(
    score: Score,
    user: int,
    identifiers: Identifiers,
    popularity: list[int],
    beam: int,
    k: int,
    valid: set[int],
    over_legal: bool,
    shares: dict[int, float],
) -> tuple[list[tuple[int, float]], float]:
    """Beam search as one would write it down, over dictionaries.

    Beside the list, the smallest gap between scores that were sorted: one that rounding does not
    close says that any other search must find the same.
    """
    gap = np.inf
    rest = 1 - sum(shares[i] for i in shares if i in valid)

    def mixed(prefix: tuple[int, ...], total: float) -> float:
        mass = sum(shares.get(i, 0.0) for i, s in spelled.items() if s[: len(prefix)] == prefix)
        return float(np.log(rest * np.exp(total) + mass))

    everything = [tuple(c for c in row if c >= 0) for row in identifiers.codes.tolist()]
    spelled = {i: everything[i] for i in valid}
    beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for level in range(identifiers.n_levels):
        longer = []
        for prefix, total in beams:
            following = sorted({s[: level + 1] for s in spelled.values() if s[:level] == prefix})
            if following and len(following[0]) <= level:
                longer.append((prefix, total))
                continue
            gains = score(user, prefix) if following else torch.zeros(0)
            if over_legal and following:
                legal = {s[level] for s in everything if s[:level] == prefix}
                gains = gains - gains[sorted(legal)].logsumexp(0)
            longer += [(p, total + float(gains[p[level]])) for p in following]
        beams = sorted(longer, key=lambda b: -mixed(*b))
        gap = min([gap, *-np.diff([mixed(*b) for b in beams])])
        beams = beams[: max(beam, k)]
    found = []
    for prefix, total in beams:
        items = [i for i, s in spelled.items() if s == prefix]
        found += [
            (i, mixed(prefix, total)) for i in sorted(items, key=lambda i: (-popularity[i], i))
        ]
    return found[:k], gap


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    sizes=st.sampled_from([(4,), (5, 3), (4, 4, 4), (6, 2, 3, 2), (3, 300)]),
    shorter=st.booleans(),
    beam=st.integers(1, 12),
    k=st.integers(1, 50),
    tables=st.booleans(),
    over_legal=st.booleans(),
    filters=st.sampled_from(["none", "seen", "allowed", "allowed each", "both", "both each"]),
    n_recalled=st.sampled_from([0, 1, 5]),
)
def test_equals_a_plain_search(
    seed: int,
    n: int,
    sizes: tuple[int, ...],
    shorter: bool,
    beam: int,
    k: int,
    tables: bool,
    over_legal: bool,
    filters: str,
    n_recalled: int,
) -> None:
    identifiers = random_identifiers(seed, n, sizes, shorter)
    rng = np.random.default_rng(seed)
    popularity = rng.integers(0, 3, n)
    users = [0, 1, 2]
    seen = torch.from_numpy(rng.integers(-1, n, (3, 6))) if filters in ("seen", "both") else None
    if filters == "both each":
        seen = torch.from_numpy(rng.integers(-1, n, (3, 1 + n // 2)))
    allowed = None
    if filters in ("allowed", "both"):
        allowed = torch.from_numpy(rng.random(n) < 0.6)
    if filters in ("allowed each", "both each"):
        allowed = torch.from_numpy(rng.random((3, n)) < 0.6)
    retrieved = None
    if n_recalled:
        rows = [rng.permutation(np.append(np.arange(n), -1))[:n_recalled] for _ in users]
        shares = torch.from_numpy(rng.dirichlet(np.ones(len(rows[0]) + 1), 3)[:, 1:]).float()
        retrieved = Retrieved(torch.from_numpy(np.stack(rows)), shares)
    score = random_score(sizes)
    trie = Trie.build(identifiers, popularity)
    if not tables:  # as at the large levels of large catalogues
        trie = replace(trie, tables=(None,) * len(sizes))
    items, log_probs = search(
        TableDecoder(score, users, over_legal),
        trie,
        beam=beam,
        k=k,
        seen=seen,
        allowed=allowed,
        retrieved=retrieved,
    )
    assert items.shape == log_probs.shape == (3, k)
    assert items.dtype == torch.int64
    assert log_probs.dtype == torch.float32
    for user in users:
        flags = torch.ones(n, dtype=torch.bool) if allowed is None else allowed
        valid = set(torch.nonzero(flags if flags.dim() == 1 else flags[user]).flatten().tolist())
        valid -= set() if seen is None else set(seen[user].tolist())
        remembered = {}
        if retrieved is not None:
            pairs = zip(
                retrieved.items[user].tolist(), retrieved.shares[user].tolist(), strict=True
            )
            remembered = {item: share for item, share in pairs if item >= 0}
        expected, gap = plain_search(
            score, user, identifiers, popularity.tolist(), beam, k, valid, over_legal, remembered
        )
        assume(gap > 1e-5)
        assert len(expected) == min(k, len(valid))
        got = [i for i in items[user].tolist() if i >= 0]
        assert got == [i for i, _ in expected]
        assert log_probs[user, : len(got)].tolist() == pytest.approx(
            [s for _, s in expected], abs=1e-5
        )
        assert bool((items[user, len(got) :] == -1).all())
        assert bool((log_probs[user, len(got) :] == -torch.inf).all())


def test_a_beam_as_wide_as_the_catalogue_is_the_full_ranking() -> None:
    sizes = (8, 8, 8)
    identifiers = random_identifiers(3, 200, sizes, shorter=True)
    score = random_score(sizes)
    items, log_probs = search(TableDecoder(score, [7]), Trie.build(identifiers), beam=200, k=200)
    assert sorted(items[0].tolist()) == list(range(200))
    for item, log_prob in zip(items[0].tolist(), log_probs[0].tolist(), strict=True):
        codes = [c for c in identifiers.codes[item].tolist() if c >= 0]
        alone = sum(float(score(7, tuple(codes[:i]))[c]) for i, c in enumerate(codes))
        assert log_prob == pytest.approx(alone, abs=1e-5)
    assert bool((log_probs[0, 1:] <= log_probs[0, :-1]).all())


def test_a_remembered_item_comes_back_however_narrow_the_beam() -> None:
    sizes = (8, 8, 8)
    trie = Trie.build(random_identifiers(3, 200, sizes, shorter=True))
    retrieved = Retrieved(torch.tensor([[137]]), torch.tensor([[0.9]]))
    decoder = TableDecoder(random_score(sizes), [7])
    items, log_probs = search(decoder, trie, beam=1, k=1, retrieved=retrieved)
    assert items.tolist() == [[137]]
    assert 0.9 <= log_probs.exp().item() < 1


def test_filters_reach_items_that_the_bare_beam_would_lose() -> None:
    sizes = (4, 4)
    codes = np.array([[a, b] for a in range(4) for b in range(4)], dtype=np.int32)
    trie = Trie.build(Identifiers(codes, sizes))

    def score(user: int, prefix: tuple[int, ...]) -> Tensor:
        return torch.tensor([0.97, 0.01, 0.01, 0.01]).log()

    for filters in (
        {"allowed": torch.arange(16) == 15},
        {"seen": torch.arange(15)[None]},
        {"seen": torch.arange(12)[None], "allowed": (torch.arange(16) > 12)[None]},
    ):
        items, log_probs = search(TableDecoder(score, [0]), trie, beam=1, k=1, **filters)
        expected = 15 if "allowed" not in filters or filters["allowed"].dim() == 1 else 13
        assert items.tolist() == [[expected]]
        assert log_probs.item() == pytest.approx(2 * np.log(0.01), abs=1e-5)


def test_ties_go_to_the_smaller_code_whatever_the_batch() -> None:
    sizes = (6, 6, 6)
    identifiers = random_identifiers(0, 120, sizes, shorter=False)
    trie = Trie.build(identifiers)

    def score(user: int, prefix: tuple[int, ...]) -> Tensor:
        return torch.full((6,), 1 / 6).log()

    expected = sorted(range(120), key=lambda i: (*identifiers.codes[i].tolist(), i))[:10]
    for users in ([0], list(range(5))):
        items, _ = search(TableDecoder(score, users), trie, beam=10, k=10)
        assert items.tolist() == [expected] * len(users)


def test_large_batches_are_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (6, 6, 6)
    trie = Trie.build(random_identifiers(0, 100, sizes, shorter=False))
    seen = torch.arange(7 * 9).view(7, 9)
    allowed = torch.rand(7, 100, generator=torch.Generator().manual_seed(0)) < 0.5
    retrieved = Retrieved(torch.arange(7)[:, None], torch.full((7, 1), 0.2))

    def lists() -> tuple[Tensor, Tensor]:
        decoder = TableDecoder(random_score(sizes), list(range(7)))
        return search(decoder, trie, beam=5, k=5, seen=seen, allowed=allowed, retrieved=retrieved)

    whole = lists()
    monkeypatch.setattr("letterrec.decoding.beam_search._AT_ONCE", 70)
    pieces = lists()
    assert torch.equal(whole[0], pieces[0])
    torch.testing.assert_close(whole[1], pieces[1])


def test_refuses_what_it_cannot_answer() -> None:
    sizes = (4, 4)
    trie = Trie.build(random_identifiers(0, 10, sizes, shorter=False))

    def decoder() -> TableDecoder:
        return TableDecoder(random_score(sizes), [0])

    with pytest.raises(RequestError, match="beam 0 and k 5: expected both to be at least 1"):
        search(decoder(), trie, beam=0, k=5)
    with pytest.raises(RequestError, match="allowed covers 9 items: expected one flag for each"):
        search(decoder(), trie, beam=1, k=5, allowed=torch.ones(9, dtype=torch.bool))
    broken = TableDecoder(lambda user, prefix: torch.full((4,), torch.nan), [0])
    with pytest.raises(RequestError, match=r"not numbers.*lower training\.learning_rate"):
        search(broken, trie, beam=1, k=1)
