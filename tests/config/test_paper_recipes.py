"""The paper's recipes hold what section 5.4 and the released code's settings say."""

from __future__ import annotations

import pytest

from letterrec.config.loading import describe_recipes, load_settings
from letterrec.config.recommenders import LcRecSettings, TigerSettings
from letterrec.config.tokenizers import LetterSettings

PAPERS = ("paper-letter-tiger", "paper-letter-lcrec")


@pytest.mark.parametrize("name", [*PAPERS, "paper-letter-rqt"])
def test_the_tokenizer(name: str) -> None:
    """Section 5.4.1: L, N, d, K, mu, AdamW at 1e-3 in batches of 1,024; the rest from the code."""
    tokenizer = load_settings(name).tokenizer
    assert isinstance(tokenizer, LetterSettings)
    training = tokenizer.training
    assert (tokenizer.levels, tokenizer.codes, tokenizer.dim, tokenizer.clusters) == (
        4,
        256,
        32,
        10,
    )
    assert (tokenizer.mu, tokenizer.alpha, tokenizer.beta) == (0.25, 0.02, 1e-4)
    assert tokenizer.hidden == (2048, 1024, 512, 256, 128, 64)
    assert (tokenizer.fuse_cf, tokenizer.linear_path) == (False, False)
    assert (tokenizer.cf_target, tokenizer.input_scale) == ("raw", "raw")
    assert (tokenizer.level_loss, tokenizer.commitment) == ("mean", "first")
    assert (tokenizer.codes_from, tokenizer.revive_until) == (0, 0)
    assert tokenizer.selection == "collisions"
    assert (training.learning_rate, training.weight_decay) == (1e-3, 1e-4)
    assert (training.schedule, training.warmup, training.clip) == ("constant", 0, 0)
    assert training.batch_size == 1024
    assert training.epochs == (20_000 if name in PAPERS else 200)
    assert training.patience >= training.epochs  # nothing stops it early


@pytest.mark.parametrize("name", PAPERS)
def test_embeddings_and_search(name: str) -> None:
    settings = load_settings(name)
    assert settings.content.max_tokens == 2048
    assert settings.collaborative.dim == 32
    assert settings.data.max_history == 20
    assert settings.evaluation.beam == 20
    assert not settings.transitions.enabled


def test_letter_tiger() -> None:
    settings = load_settings("paper-letter-tiger")
    tiger, training = settings.recommender, settings.training
    assert isinstance(tiger, TigerSettings)
    assert (tiger.dim, tiger.layers, tiger.heads, tiger.head_dim) == (128, 4, 6, 64)
    assert (tiger.feed_forward, tiger.dropout) == (1024, 0.1)
    assert tiger.temperature == 0.7  # the best of Fig. 8
    assert (training.batch_size, training.learning_rate) == (1024, 5e-4)  # 256 on two GPUs, twice
    assert (training.epochs, training.patience) == (200, 20)
    assert (training.schedule, training.warmup, training.weight_decay) == ("cosine", 0.01, 0.01)


def test_letter_lcrec() -> None:
    settings = load_settings("paper-letter-lcrec")
    lcrec, training = settings.recommender, settings.training
    assert isinstance(lcrec, LcRecSettings)
    assert (lcrec.rank, lcrec.alpha, lcrec.dropout) == (8, 32, 0.05)
    assert lcrec.temperature < 1  # eq. 6
    assert lcrec.loss_on == "text"
    assert not lcrec.train_codes
    assert lcrec.tasks.model_dump(exclude_defaults=True) == {}  # seqrec alone
    assert (training.epochs, training.batch_size) == (4, 128)  # 16 on four GPUs, twice
    assert training.learning_rate in (1e-4, 2e-4, 3e-4)


@pytest.mark.parametrize("name", [*PAPERS, "paper-letter-rqt"])
def test_what_is_not_the_papers_stands_in_the_label(name: str) -> None:
    label = describe_recipes()[name]
    assert "encoder" in label
    assert ("epochs" in label) == (name == "paper-letter-rqt")
