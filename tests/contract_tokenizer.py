"""What every tokenizer must do; its test inherits this class and says how to make one.

The planted catalogue: 6 groups far apart, of 5 subgroups each, of 8 items each. A tokenizer that
works gives no first code to items of two groups, and tells the subgroups apart in the end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.embeddings.cooccurrence import cooccurrence
from letterrec.errors import IdentifierError, RunError, SettingsError
from letterrec.tokenizers import TOKENIZERS, Items, Tokenizer, load_tokenizer
from letterrec.training.options import TrainingOptions

GROUPS, SUBGROUPS, ITEMS = 6, 5, 8
LEVELS, CODES = 3, 16


def planted(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Content ``(240, 24)``, CF ``(240, 8)`` of the same groups, and the group of each item."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), SUBGROUPS * ITEMS)
    subgroup = np.repeat(np.arange(GROUPS * SUBGROUPS), ITEMS)
    content = 3.0 * random.normal(size=(GROUPS, 24))[group]
    content = content + 0.7 * random.normal(size=(GROUPS * SUBGROUPS, 24))[subgroup]
    content = content + 0.1 * random.normal(size=content.shape)
    cf = np.eye(8)[group] + 0.1 * random.normal(size=(len(group), 8))
    return content.astype(np.float32), cf.astype(np.float32), subgroup // SUBGROUPS


CONTENT, CF, GROUP = planted()
CATEGORIES = [
    ("all", f"group {group}", f"subgroup {item // ITEMS}") for item, group in enumerate(GROUP)
]
USED = [  # what is used together: the items of a subgroup, and now and then of its group
    np.flatnonzero(np.arange(len(GROUP)) // size == place)
    for size, times in ((ITEMS, 5), (ITEMS * SUBGROUPS, 1))
    for place in range(len(GROUP) // size)
    for _ in range(times)
]


def training(**changes: Any) -> TrainingOptions:
    """Options of a short training on the planted catalogue."""
    return TrainingOptions(**{"epochs": 30, "batch_size": 1024, "patience": 30} | changes)


class TokenizerContract:
    """Inherit it, name the tokenizer, and make small ones that fit in about a second."""

    name: str

    def make(self) -> Tokenizer:
        """An untrained tokenizer."""
        raise NotImplementedError

    def known(self, n: int = len(CONTENT)) -> Items:
        """The first ``n`` items of the planted catalogue, with all that they bring."""
        graph = cooccurrence(Histories.from_lists(h[h < n] for h in USED), n)
        return Items(CONTENT[:n], CF[:n], CATEGORIES[:n], graph)

    def fit(self, tokenizer: Tokenizer, items: Items, seed: int = 0) -> Tokenizer:
        """Fit it to items."""
        return tokenizer.fit(items, training(seed=seed))

    @pytest.fixture(scope="class")
    def fitted(self) -> Tokenizer:
        return self.fit(self.make(), self.known())

    def test_it_is_in_the_visible_dict(self):
        assert isinstance(self.make(), TOKENIZERS[self.name])

    def test_codes_have_the_promised_shape_and_range(self, fitted: Tokenizer):
        codes = fitted.quantize(self.known())
        assert codes.shape == (len(CONTENT), len(fitted.sizes))
        assert codes.dtype == np.int32
        assert codes.min() >= 0
        assert (codes < fitted.sizes).all()

    def test_the_first_code_tells_the_planted_groups_apart(self, fitted: Tokenizer):
        first = fitted.quantize(self.known())[:, 0]
        groups_of_code = [set(GROUP[first == code]) for code in np.unique(first)]
        assert [len(groups) for groups in groups_of_code] == [1] * len(groups_of_code)

    def test_identifiers_are_unique_and_keep_the_codes_where_there_is_room(self, fitted: Tokenizer):
        identifiers, codes = fitted.assign(self.known()), fitted.quantize(self.known())
        assert identifiers.shape == (len(CONTENT), len(fitted.sizes))
        assert identifiers.dtype == np.int32
        assert len(np.unique(identifiers, axis=0)) == len(CONTENT)
        _, code, sharing = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
        alone = sharing[code.reshape(-1)] == 1
        assert (identifiers[alone] == codes[alone]).all()
        _, prefix, full = np.unique(codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
        has_room = full[prefix.reshape(-1)] <= fitted.sizes[-1]
        assert (identifiers[has_room, :-1] == codes[has_room, :-1]).all()

    def test_new_items_get_identifiers_that_nobody_has(self, fitted: Tokenizer):
        taken = fitted.assign(self.known())
        new = fitted.assign(Items(CONTENT[:50]), taken)
        assert len(np.unique(np.concatenate([taken, new]), axis=0)) == len(CONTENT) + 50
        assert np.array_equal(new, fitted.assign(Items(CONTENT[:50]), taken))

    def test_a_new_item_is_put_among_its_like(self, fitted: Tokenizer):
        codes = fitted.quantize(self.known())[:, 0]
        assert (fitted.quantize(Items(CONTENT + np.float32(0.01), CF))[:, 0] == codes).mean() > 0.95

    def test_a_new_item_that_nobody_used_yet_is_put_into_its_group(self, fitted: Tokenizer):
        group_of_code = dict(zip(fitted.quantize(self.known())[:, 0], GROUP, strict=True))
        new = fitted.quantize(Items(CONTENT + np.float32(0.01)))[:, 0]  # without CF embeddings
        assert np.mean([group_of_code.get(c) == g for c, g in zip(new, GROUP, strict=True)]) > 0.9

    def test_no_items_get_no_identifiers(self, fitted: Tokenizer):
        assert fitted.assign(Items(CONTENT[:0])).shape == (0, len(fitted.sizes))

    def test_the_same_seed_gives_the_same_identifiers(self, fitted: Tokenizer):
        again = self.fit(self.make(), self.known())
        assert np.array_equal(again.assign(self.known()), fitted.assign(self.known()))

    def test_what_is_saved_comes_back(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        loaded = load_tokenizer(tmp_path)
        assert type(loaded) is type(fitted)
        assert np.array_equal(loaded.assign(self.known()), fitted.assign(self.known()))
        assert loaded.sizes == fitted.sizes
        new = Items(CONTENT[:50])
        taken = fitted.assign(self.known())
        assert np.array_equal(loaded.assign(new, taken), fitted.assign(new, taken))
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"tokenizer.json", "tokenizer.safetensors"}

    def test_a_damaged_folder_is_one_line(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        (tmp_path / "tokenizer.safetensors").write_bytes(b"no tensors")
        with pytest.raises(RunError, match="is damaged"):
            load_tokenizer(tmp_path)

    def test_fewer_items_than_codes_are_fine(self):
        tokenizer = self.fit(self.make(), self.known(5))
        assert len(np.unique(tokenizer.assign(self.known(5)), axis=0)) == 5

    def test_items_without_any_difference_are_told_apart(self):
        nobody = cooccurrence(Histories.from_lists([]), 40)
        same = Items(np.repeat(CONTENT[:1], 40, axis=0), CF[:40], CATEGORIES[:1] * 40, nobody)
        tokenizer = self.fit(self.make(), same)
        assert len(np.unique(tokenizer.assign(same), axis=0)) == 40

    def test_content_that_is_not_finite_is_refused(self):
        content = CONTENT.copy()
        content[3, 1] = np.nan
        with pytest.raises(SettingsError, match=r"NaN or infinity \(first in row 3\)"):
            self.fit(self.make(), replace(self.known(), content=content))

    @pytest.mark.parametrize("shape", [(0, 24), (240,)])
    def test_content_of_another_shape_is_refused(self, shape: tuple[int, ...]):
        items = replace(self.known(), content=np.zeros(shape, dtype=np.float32))
        with pytest.raises(SettingsError, match=r"content embeddings have shape \("):
            self.fit(self.make(), items)

    def test_content_of_another_encoder_is_refused(self, fitted: Tokenizer):
        with pytest.raises(RunError, match=r"shape \(240, 10\); the tokenizer was fitted on"):
            fitted.assign(Items(CONTENT[:, :10]))

    def test_an_unfitted_tokenizer_says_so(self):
        with pytest.raises(RunError, match="not fitted"):
            self.make().quantize(Items(CONTENT))


class CodebookContract(TokenizerContract):
    """Of tokenizers whose codes stand for vectors, all levels with as many codes."""

    def make(self, *, levels: int = LEVELS, codes: int = CODES) -> Tokenizer:
        """An untrained tokenizer."""
        raise NotImplementedError

    def test_the_codebooks_have_the_sizes_that_were_asked_for(self, fitted: Tokenizer):
        assert fitted.sizes == (CODES,) * LEVELS
        assert fitted.codebooks is not None
        assert fitted.codebooks.shape[:2] == (LEVELS, CODES)
        again = self.fit(self.make(), self.known())
        assert np.array_equal(again.codebooks, fitted.codebooks)

    def test_what_codes_stand_for_is_saved(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        loaded, known = load_tokenizer(tmp_path), self.known()
        assert np.array_equal(loaded.quantized(known), fitted.quantized(known))
        assert loaded.reconstruction_error(known) == fitted.reconstruction_error(known)

    def test_codes_restore_most_of_the_content(self, fitted: Tokenizer):
        assert fitted.reconstruction_error(self.known()) < 0.5

    def test_the_quantized_embedding_is_a_function_of_the_codes(self, fitted: Tokenizer):
        codes, quantized = fitted.quantize(self.known()), fitted.quantized(self.known())
        assert quantized.shape == (len(CONTENT), fitted.codebooks.shape[2])
        assert quantized.dtype == np.float32
        _, first, which = np.unique(codes, axis=0, return_index=True, return_inverse=True)
        assert np.allclose(quantized, quantized[first][which.ravel()], atol=1e-4)

    def test_another_seed_gives_others(self, fitted: Tokenizer):
        other = self.fit(self.make(), self.known(), seed=1)
        assert not np.array_equal(other.quantize(self.known()), fitted.quantize(self.known()))

    def test_tensors_of_other_settings_are_refused(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        text = (tmp_path / "tokenizer.json").read_text("utf-8")
        (tmp_path / "tokenizer.json").write_text(text.replace('"codes": 16', '"codes": 32'))
        with pytest.raises(RunError, match=r"tokenizer\.safetensors.*fit it again") as caught:
            load_tokenizer(tmp_path)
        assert "\n" not in str(caught.value)

    def test_too_small_a_code_space_is_refused(self):
        tokenizer = self.fit(self.make(levels=2, codes=4), self.known(17))
        with pytest.raises(IdentifierError, match="17 items but only 16 free identifiers"):
            tokenizer.assign(self.known(17))
