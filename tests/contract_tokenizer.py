"""What every tokenizer must do; its test inherits this class and says how to make one.

The planted catalogue: 6 groups far apart, of 5 subgroups each, of 8 items each. A tokenizer that
works gives no first code to items of two groups, and tells the subgroups apart in the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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


def training(**changes: Any) -> TrainingOptions:
    """Options of a short training on the planted catalogue."""
    return TrainingOptions(**{"epochs": 30, "batch_size": 1024, "patience": 30} | changes)


class TokenizerContract:
    """Inherit it, name the tokenizer, and make small ones that fit in about a second."""

    name: str

    def make(self, *, levels: int = LEVELS, codes: int = CODES) -> Tokenizer:
        """An untrained tokenizer."""
        raise NotImplementedError

    def fit(self, tokenizer: Tokenizer, content: NDArray[np.float32], seed: int = 0) -> Tokenizer:
        """Fit it on content and the CF embeddings of the planted catalogue."""
        return tokenizer.fit(Items(content, CF[: len(content)]), training(seed=seed))

    @pytest.fixture(scope="class")
    def fitted(self) -> Tokenizer:
        return self.fit(self.make(), CONTENT)

    def test_it_is_in_the_visible_dict(self):
        assert isinstance(self.make(), TOKENIZERS[self.name])

    def test_codes_have_the_promised_shape_and_range(self, fitted: Tokenizer):
        codes = fitted.quantize(Items(CONTENT, CF))
        assert codes.shape == (len(CONTENT), LEVELS)
        assert codes.dtype == np.int32
        assert codes.min() >= 0
        assert codes.max() < CODES
        assert fitted.codebooks.shape[:2] == (LEVELS, CODES)

    def test_the_first_code_tells_the_planted_groups_apart(self, fitted: Tokenizer):
        first = fitted.quantize(Items(CONTENT, CF))[:, 0]
        groups_of_code = [set(GROUP[first == code]) for code in np.unique(first)]
        assert [len(groups) for groups in groups_of_code] == [1] * len(groups_of_code)

    def test_codes_restore_most_of_the_content(self, fitted: Tokenizer):
        assert fitted.reconstruction_error(Items(CONTENT, CF)) < 0.5

    def test_the_quantized_embedding_is_a_function_of_the_codes(self, fitted: Tokenizer):
        codes, quantized = fitted.quantize(Items(CONTENT, CF)), fitted.quantized(Items(CONTENT, CF))
        assert quantized.shape == (len(CONTENT), fitted.codebooks.shape[2])
        assert quantized.dtype == np.float32
        _, first, which = np.unique(codes, axis=0, return_index=True, return_inverse=True)
        assert np.allclose(quantized, quantized[first][which.ravel()], atol=1e-4)

    def test_identifiers_are_unique_and_near_the_codes(self, fitted: Tokenizer):
        identifiers, codes = fitted.assign(Items(CONTENT, CF)), fitted.quantize(Items(CONTENT, CF))
        assert identifiers.shape == (len(CONTENT), LEVELS)
        assert identifiers.dtype == np.int32
        assert len(np.unique(identifiers, axis=0)) == len(CONTENT)
        assert (identifiers[:, :-1] == codes[:, :-1]).mean() > 0.9

    def test_new_items_get_identifiers_that_nobody_has(self, fitted: Tokenizer):
        taken = fitted.assign(Items(CONTENT, CF))
        new = fitted.assign(Items(CONTENT[:50]), taken)
        assert len(np.unique(np.concatenate([taken, new]), axis=0)) == len(CONTENT) + 50
        assert np.array_equal(new, fitted.assign(Items(CONTENT[:50]), taken))

    def test_a_new_item_is_put_among_its_like(self, fitted: Tokenizer):
        codes = fitted.quantize(Items(CONTENT, CF))[:, 0]
        assert (fitted.quantize(Items(CONTENT + np.float32(0.01), CF))[:, 0] == codes).mean() > 0.95

    def test_a_new_item_that_nobody_used_yet_is_put_into_its_group(self, fitted: Tokenizer):
        group_of_code = dict(zip(fitted.quantize(Items(CONTENT, CF))[:, 0], GROUP, strict=True))
        new = fitted.quantize(Items(CONTENT + np.float32(0.01)))[:, 0]  # without CF embeddings
        assert np.mean([group_of_code.get(c) == g for c, g in zip(new, GROUP, strict=True)]) > 0.9

    def test_no_items_get_no_identifiers(self, fitted: Tokenizer):
        assert fitted.assign(Items(CONTENT[:0])).shape == (0, LEVELS)

    def test_the_same_seed_gives_the_same_identifiers(self, fitted: Tokenizer):
        again = self.fit(self.make(), CONTENT)
        assert np.array_equal(again.assign(Items(CONTENT, CF)), fitted.assign(Items(CONTENT, CF)))
        assert np.array_equal(again.codebooks, fitted.codebooks)

    def test_another_seed_gives_others(self, fitted: Tokenizer):
        other = self.fit(self.make(), CONTENT, seed=1)
        assert not np.array_equal(
            other.quantize(Items(CONTENT, CF)), fitted.quantize(Items(CONTENT, CF))
        )

    def test_what_is_saved_comes_back(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        loaded = load_tokenizer(tmp_path)
        assert type(loaded) is type(fitted)
        assert np.array_equal(loaded.assign(Items(CONTENT, CF)), fitted.assign(Items(CONTENT, CF)))
        assert np.array_equal(
            loaded.quantized(Items(CONTENT, CF)), fitted.quantized(Items(CONTENT, CF))
        )
        assert loaded.reconstruction_error(Items(CONTENT, CF)) == fitted.reconstruction_error(
            Items(CONTENT, CF)
        )
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"tokenizer.json", "tokenizer.safetensors"}

    def test_a_damaged_folder_is_one_line(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        (tmp_path / "tokenizer.safetensors").write_bytes(b"no tensors")
        with pytest.raises(RunError, match="is damaged"):
            load_tokenizer(tmp_path)

    def test_tensors_of_other_settings_are_refused(self, fitted: Tokenizer, tmp_path: Path):
        fitted.save(tmp_path)
        text = (tmp_path / "tokenizer.json").read_text("utf-8")
        (tmp_path / "tokenizer.json").write_text(text.replace('"codes": 16', '"codes": 32'))
        with pytest.raises(RunError, match=r"tokenizer\.safetensors.*fit it again") as caught:
            load_tokenizer(tmp_path)
        assert "\n" not in str(caught.value)

    def test_too_small_a_code_space_is_refused(self):
        tokenizer = self.fit(self.make(levels=2, codes=4), CONTENT[:17])
        with pytest.raises(IdentifierError, match="17 items but only 16 free identifiers"):
            tokenizer.assign(Items(CONTENT[:17], CF[:17]))

    def test_fewer_items_than_codes_are_fine(self):
        tokenizer = self.fit(self.make(), CONTENT[:5])
        assert len(np.unique(tokenizer.assign(Items(CONTENT[:5], CF[:5])), axis=0)) == 5

    def test_items_without_any_difference_are_told_apart(self):
        same = np.repeat(CONTENT[:1], 40, axis=0)
        tokenizer = self.fit(self.make(), same)
        assert len(np.unique(tokenizer.assign(Items(same, CF[:40])), axis=0)) == 40

    def test_content_that_is_not_finite_is_refused(self):
        content = CONTENT.copy()
        content[3, 1] = np.nan
        with pytest.raises(SettingsError, match=r"NaN or infinity \(first in row 3\)"):
            self.fit(self.make(), content)

    @pytest.mark.parametrize("shape", [(0, 24), (240,)])
    def test_content_of_another_shape_is_refused(self, shape: tuple[int, ...]):
        with pytest.raises(SettingsError, match=r"content embeddings have shape \("):
            self.fit(self.make(), np.zeros(shape, dtype=np.float32))

    def test_content_of_another_encoder_is_refused(self, fitted: Tokenizer):
        with pytest.raises(RunError, match=r"shape \(240, 10\); the tokenizer was fitted on"):
            fitted.assign(Items(CONTENT[:, :10]))

    def test_an_unfitted_tokenizer_says_so(self):
        with pytest.raises(RunError, match="not fitted"):
            self.make().quantize(Items(CONTENT))
