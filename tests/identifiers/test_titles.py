"""Titles as identifiers: what is told apart and how, and what a run makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import small_settings
from letterrec import api
from letterrec.decoding.trie import Trie
from letterrec.embeddings.encoders import encoder_tokenizer
from letterrec.errors import IdentifierError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.identifiers.titles import MAX_TOKENS, title_identifiers
from letterrec.recommenders.lcrec import llm
from rings import write_rings


def spelled(identifiers: Identifiers) -> list[str]:
    return [identifiers.spelled(item) for item in range(identifiers.n_items)]


def test_titles_that_begin_alike_are_told_apart() -> None:
    long = " ".join(["very"] * MAX_TOKENS)
    titles = ["Soap", "Soap bar", "soap", "Soap #3", "SOAP", f"{long} red", f"{long} blue", ""]
    identifiers, before = title_identifiers(titles, encoder_tokenizer())
    words = "<very>" * MAX_TOKENS
    assert spelled(identifiers) == [
        "<soap><[SEP]>",
        "<soap><bar><[SEP]>",
        "<soap><#><2><[SEP]>",
        "<soap><#><3><[SEP]>",
        "<soap><#><4><[SEP]>",
        f"{words}<[SEP]>",
        f"{words}<#><2><[SEP]>",
        "<[SEP]>",
    ]
    assert before[0].tolist() == before[2].tolist() == before[4].tolist()
    assert Trie.build(identifiers).most_sharing == 1


@pytest.mark.parametrize("words", ["soap [SEP]", "soap <|im_end|>", "soap\n", " soap\u2028bar"])
def test_no_identifier_begins_another_whatever_stands_in_titles(words: str) -> None:
    for tokenizer in (encoder_tokenizer(), llm.load_tokenizer("smollm2")):
        identifiers, _ = title_identifiers(["soap", words, f"{words} bar", "soap bar"], tokenizer)
        assert Trie.build(identifiers).most_sharing == 1


def test_words_are_kept_with_identifiers(tmp_path: Path) -> None:
    identifiers, _ = title_identifiers(["Crème, 3 oz", "Soap"], llm.load_tokenizer("smollm2"))
    identifiers.save(tmp_path / "identifiers.parquet", ["a", "b"])
    loaded = Identifiers.load(tmp_path / "identifiers.parquet", ["a", "b"])
    assert loaded.words == identifiers.words
    assert loaded.level_offsets == (2,) * loaded.n_levels
    assert spelled(loaded) == spelled(identifiers)


@pytest.mark.slow
@pytest.mark.parametrize("recommender", ["rqt", "tiger"])
def test_a_run_on_titles(recommender: str, shop: Path, tmp_path: Path) -> None:
    settings = small_settings(
        "identifiers.source=titles", f"recommender.name={recommender}", "training.epochs=1"
    )
    api.fit(shop, tmp_path / "run", settings)
    engine = api.load(tmp_path / "run")
    (answer,) = engine.recommend([engine.history_of(engine.dataset.user_ids[0])], k=10)
    assert len({item for item, _ in answer} & set(engine.dataset.item_ids)) == 10


def test_items_without_titles_are_refused(tmp_path: Path) -> None:
    source = write_rings(tmp_path) / "Beauty"
    with pytest.raises(IdentifierError, match="the items of Beauty have no titles; add an items"):
        api.fit(source, tmp_path / "run", small_settings("identifiers.source=titles"))
