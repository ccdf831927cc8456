import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterrec.errors import IdentifierError
from letterrec.identifiers.collisions import group, resolve


def quantize(latents: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Residual quantization, item by item."""
    codes = np.zeros((len(latents), len(codebooks)), dtype=np.int32)
    for row, residual in enumerate(latents):
        for level, codebook in enumerate(codebooks):
            codes[row, level] = np.square(residual - codebook).sum(1).argmin()
            residual = residual - codebook[codes[row, level]]
    return codes


def planted(n: int, levels: int, codes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Latents of which many collide, and codebooks of falling scale."""
    random = np.random.default_rng(seed)
    codebooks = random.normal(size=(levels, codes, 4)) * 0.3 ** np.arange(levels)[:, None, None]
    latents = random.normal(size=(n, 4))
    latents[n // 2 :] = latents[: n - n // 2]
    return latents.astype(np.float32), codebooks.astype(np.float32)


def assert_unique(codes: np.ndarray) -> None:
    assert len(np.unique(codes, axis=0)) == len(codes)


def test_codes_without_collision_stay():
    latents, codebooks = planted(4, 3, 16)
    codes = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [3, 2, 1]], dtype=np.int32)
    assert resolve(codes, latents, codebooks).tolist() == codes.tolist()


def test_one_of_two_colliding_items_keeps_the_code_and_the_other_takes_the_next():
    codebooks = np.zeros((2, 4, 1), dtype=np.float32)
    codebooks[1, :, 0] = [0.0, 1.0, 2.5, 9.0]
    latents = np.array([[0.1], [0.4], [2.4]], dtype=np.float32)
    codes = np.array([[0, 0], [0, 0], [0, 2]], dtype=np.int32)
    assert resolve(codes, latents, codebooks).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_the_matching_is_the_cheapest_not_the_greedy_one():
    codebooks = np.zeros((2, 3, 1), dtype=np.float32)
    codebooks[1, :, 0] = [0.0, 1.0, -3.0]
    # Both are nearest to code 0; the first is nearer to it, but the second has no good other.
    latents = np.array([[0.45], [-0.5]], dtype=np.float32)
    codes = np.zeros((2, 2), dtype=np.int32)
    assert resolve(codes, latents, codebooks).tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_choice_of_last_codes_is_cheaper(seed: int):
    """Against all assignments, tried one by one; one code is another item's already."""
    random = np.random.default_rng(seed)
    codebooks = random.normal(size=(2, 5, 3)).astype(np.float32)
    latents = (codebooks[0, 2] + random.normal(size=(4, 3))).astype(np.float32)
    codes = np.array([[2, 0], [2, 0], [2, 0], [2, 4]], dtype=np.int32)
    found = resolve(codes, latents, codebooks)
    assert found[3].tolist() == [2, 4]
    costs = np.square(latents[:3, None] - codebooks[0, 2] - codebooks[1]).sum(2)  # (items, codes)
    possible = itertools.permutations(range(4), 3)
    least = min(costs[range(3), list(chosen)].sum() for chosen in possible)
    assert costs[range(3), found[:3, 1]].sum() == pytest.approx(least, rel=1e-5)


def test_of_more_items_than_free_codes_those_that_fit_best_get_them():
    codebooks = np.zeros((2, 2, 1), dtype=np.float32)
    codebooks[0, :, 0] = [0.0, 10.0]
    codebooks[1, :, 0] = [0.0, 1.0]
    latents = np.array([[4.0], [0.1], [0.9]], dtype=np.float32)
    result = resolve(np.zeros((3, 2), dtype=np.int32), latents, codebooks)
    assert result.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_a_full_last_level_backs_off_to_the_nearest_code_before():
    codebooks = np.zeros((2, 3, 1), dtype=np.float32)
    codebooks[0, :, 0] = [0.0, 10.0, 30.0]
    codebooks[1, :, 0] = [0.0, 1.0, 2.0]
    latents = np.zeros((5, 1), dtype=np.float32)
    result = resolve(np.zeros((5, 2), dtype=np.int32), latents, codebooks)
    assert sorted(map(tuple, result.tolist())) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_full_branch_backs_off_further():
    latents = np.zeros((9, 4), dtype=np.float32)
    _, codebooks = planted(1, 4, 2)
    result = resolve(np.zeros((9, 4), dtype=np.int32), latents, codebooks)
    assert_unique(result)
    assert (result[:, 0] == 0).sum() == 8  # the whole branch is used before another one is


def test_the_whole_code_space_can_be_used():
    latents, codebooks = planted(27, 3, 3)
    result = resolve(quantize(latents, codebooks), latents, codebooks)
    assert_unique(result)


def test_taken_identifiers_are_avoided_and_cost_capacity():
    latents, codebooks = planted(20, 2, 5)
    taken = resolve(quantize(latents[:10], codebooks), latents[:10], codebooks)
    new = resolve(quantize(latents[10:], codebooks), latents[10:], codebooks, taken=taken)
    assert_unique(np.concatenate([taken, new]))
    with pytest.raises(IdentifierError, match=r"16 items but only 15 free identifiers \(2 levels"):
        resolve(np.zeros((16, 2), np.int32), np.zeros((16, 4), np.float32), codebooks, taken=taken)


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        (np.zeros((2, 3), np.int32), r"shape \(2, 3\); expected \(m, 2\)"),
        (np.full((1, 2), 5, np.int32), r"codes 5 to 5; expected 0 to 4"),
    ],
)
def test_taken_identifiers_of_another_tokenizer_are_refused(taken: np.ndarray, message: str):
    latents, codebooks = planted(4, 2, 5)
    with pytest.raises(IdentifierError, match=message):
        resolve(quantize(latents, codebooks), latents, codebooks, taken=taken)


@settings(deadline=None, max_examples=60)
@given(
    levels=st.integers(1, 4),
    codes=st.integers(2, 6),
    share=st.floats(0, 1),
    n_taken=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_always_unique_for_any_codes(levels, codes, share, n_taken, seed):
    random = np.random.default_rng(seed)
    space = codes**levels
    everything = np.stack(np.unravel_index(random.permutation(space), (codes,) * levels), 1)
    taken = everything[: min(n_taken, space - 1)].astype(np.int32)
    n = 1 + int(share * (space - len(taken) - 1))
    start = random.integers(0, random.integers(1, codes + 1), (n, levels)).astype(np.int32)
    latents, codebooks = planted(n, levels, codes, seed)
    result = resolve(start, latents, codebooks, taken=taken)
    assert_unique(np.concatenate([result, taken]))
    assert result.min() >= 0
    assert result.max() < codes
    assert np.array_equal(result, resolve(start, latents, codebooks, taken=taken))
    ids, counts = group(np.concatenate([start, taken]))
    alone = counts[ids[:n]] == 1
    assert np.array_equal(result[alone], start[alone])


def test_many_items_with_few_collisions_take_seconds():
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (200_000, 4), dtype=np.int32)
    codes[:2000] = codes[2000:4000]
    latents = random.normal(size=(200_000, 8)).astype(np.float32)
    codebooks = random.normal(size=(4, 256, 8)).astype(np.float32)
    started = time.process_time()
    result = resolve(codes, latents, codebooks)
    assert time.process_time() - started < 60
    assert group(result)[1].max() == 1
