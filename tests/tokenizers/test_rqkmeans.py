import numpy as np
import pytest

from contract_tokenizer import CONTENT, CodebookContract, training
from letterrec.tokenizers import Items
from letterrec.tokenizers.rqkmeans import RQKMeansTokenizer


class TestRQKMeans(CodebookContract):
    name = "rqkmeans"

    def make(self, **settings: int) -> RQKMeansTokenizer:
        return RQKMeansTokenizer(**{"levels": 3, "codes": 16, **settings})


class TestBalanced(CodebookContract):
    name = "rqkmeans"

    def make(self, **settings: int) -> RQKMeansTokenizer:
        return RQKMeansTokenizer(**{"levels": 3, "codes": 16, **settings}, balanced=True)

    def test_the_first_code_tells_the_planted_groups_apart(self, fitted):
        pytest.skip("equal shares cut across groups of 40 when a code takes 15 items")


def test_balanced_codes_have_nearly_equal_shares():
    random = np.random.default_rng(0)
    content = np.concatenate(
        [random.normal(size=(1800, 8)), 5 + 0.1 * random.normal(size=(200, 8))]
    ).astype(np.float32)
    plain = (
        RQKMeansTokenizer(levels=2, codes=20)
        .fit(Items(content), training())
        .quantize(Items(content))
    )
    balanced = (
        RQKMeansTokenizer(levels=2, codes=20, balanced=True)
        .fit(Items(content), training())
        .quantize(Items(content))
    )
    for level in range(2):
        sizes = np.bincount(balanced[:, level], minlength=20)
        assert sizes.max() <= 130
        assert sizes.min() >= 70
        assert np.bincount(plain[:, level], minlength=20).std() > 2 * sizes.std()


def test_quantized_is_the_mean_plus_the_codes():
    tokenizer = RQKMeansTokenizer(levels=3, codes=16).fit(Items(CONTENT), training())
    codes = tokenizer.quantize(Items(CONTENT))
    expected = CONTENT.mean(0) + tokenizer.codebooks[np.arange(3), codes].sum(1)
    assert np.allclose(tokenizer.quantized(Items(CONTENT)), expected, atol=1e-4)
