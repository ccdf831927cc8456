from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from contract_recommender import (
    MAX_HISTORY,
    MIXED,
    RecommenderContract,
    planted_identifiers,
    random_histories,
)
from letterrec.data.sequences import Histories
from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.embeddings.encoders import encoder_tokenizer
from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.errors import DataError, IdentifierError, SettingsError
from letterrec.identifiers.identifiers import END_TOKEN, FIRST_CODE_TOKEN, PAD_TOKEN, Identifiers
from letterrec.identifiers.titles import title_identifiers
from letterrec.recommenders.tiger.model import Tiger
from letterrec.recommenders.tiger.spelling import spell
from letterrec.training.options import TrainingOptions
from ranking import assert_same_rankings

SMALL: dict[str, Any] = {
    "max_history": MAX_HISTORY,
    "dim": 32,
    "layers": 2,
    "heads": 2,
    "head_dim": 16,
    "feed_forward": 64,
}


class TestTiger(RecommenderContract):
    training: ClassVar[dict[str, Any]] = {"epochs": 24, "batch_size": 16, "learning_rate": 3e-3}

    def make(self, identifiers: Identifiers) -> Tiger:
        return Tiger(identifiers, **SMALL, dropout=0.01)

    def teacher_forced(
        self, recommender: Tiger, history: Tensor, trie: Trie, codes: list[int]
    ) -> float:
        offsets = recommender.level_offsets
        target = torch.tensor([[o + c for o, c in zip(offsets, codes, strict=False)]])
        with torch.no_grad():
            logits = recommender.logits(spell(history[None], recommender.item_tokens), target)
        log_probs = logits.log_softmax(-1)[0]
        return float(log_probs.gather(1, target[0][:, None]).sum())


def test_titles_are_ranked_as_exhaustive_scoring_ranks_them() -> None:
    titles = ["Green tea", "Green tea soap", "Green tea", "Soap", "Tea tree oil", "Soap, 3 oz"]
    identifiers, _ = title_identifiers(titles, encoder_tokenizer())
    assert identifiers.spelled(2) == "<green><tea><#><2><[SEP]>"
    contract = TestTiger()
    recommender, trie = contract.random(identifiers), Trie.build(identifiers)
    assert recommender.shared.num_embeddings == FIRST_CODE_TOKEN + len(identifiers.words or ())
    histories = random_histories(3, len(titles))
    items, scores = search(recommender.encode(histories), trie, beam=len(titles), k=len(titles))
    for given, row, found in zip(histories, items.tolist(), scores.tolist(), strict=True):
        assert sorted(row) == list(range(len(titles)))
        for item, score in zip(row, found, strict=True):
            codes = [c for c in identifiers.codes[item].tolist() if c >= 0]
            alone = contract.teacher_forced(recommender, given[given >= 0], trie, codes)
            assert score == pytest.approx(alone, abs=1e-4)


def grown(identifiers: Identifiers, **settings: Any) -> Tiger:
    """A random recommender with scores far enough apart to rank clearly."""
    torch.manual_seed(0)
    recommender = Tiger(identifiers, **{**SMALL, **settings}).eval()
    with torch.no_grad():
        recommender.shared.weight.mul_(2)
    return recommender


def test_network_is_that_of_transformers() -> None:
    recommender = grown(planted_identifiers(), layers=3)
    theirs = recommender.to_transformers()
    history = spell(random_histories(6, 16), recommender.item_tokens)
    target = recommender.item_tokens[:6]
    with torch.no_grad():
        ours = recommender.logits(history, target)
        expected = theirs(
            input_ids=history,
            attention_mask=(history != PAD_TOKEN).long(),
            labels=target,
        )
    torch.testing.assert_close(ours, expected.logits, atol=1e-4, rtol=1e-4)
    loss = recommender(history, target)["loss"]
    torch.testing.assert_close(loss, expected.loss, atol=1e-4, rtol=1e-4)


def test_paper_sizes_are_the_default() -> None:
    theirs = Tiger(planted_identifiers()).to_transformers()
    config = theirs.config
    assert (config.num_layers, config.num_decoder_layers, config.d_model) == (4, 4, 128)
    assert (config.num_heads, config.d_kv, config.d_ff, config.dropout_rate) == (6, 64, 1024, 0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lists_and_scores_equal_transformers_generate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (30, 12, 12, 8)
    codes = np.unique(rng.integers(0, sizes, (600, 4)).astype(np.int32), axis=0)
    codes = rng.permutation(codes)
    identifiers = Identifiers(codes, sizes)
    recommender = grown(identifiers)
    histories = random_histories(8, identifiers.n_items)
    items, log_probs = search(recommender.encode(histories), Trie.build(identifiers), beam=20, k=20)

    tokens = recommender.item_tokens.tolist()
    legal: dict[tuple[int, ...], set[int]] = {}
    for row in tokens:
        for level, token in enumerate(row):
            legal.setdefault(tuple(row[:level]), set()).add(token)
    history = spell(histories, recommender.item_tokens)
    out = recommender.to_transformers().generate(
        history,
        attention_mask=(history != PAD_TOKEN).long(),
        prefix_allowed_tokens_fn=lambda _, given: sorted(legal[tuple(given.tolist()[1:])]),
        num_beams=20,
        num_return_sequences=20,
        max_new_tokens=4,
        do_sample=False,
        length_penalty=0.0,  # scores are sums, not divided by any power of the length
        return_dict_in_generate=True,
        output_scores=True,
    )
    item_of = {tuple(row): item for item, row in enumerate(tokens)}
    theirs = torch.tensor([item_of[tuple(s[1:])] for s in out.sequences.tolist()]).view(8, 20)
    assert_same_rankings((items, log_probs), (theirs, out.sequences_scores.view(8, 20)))


def test_histories_become_tokens() -> None:
    tokens = torch.from_numpy(MIXED.tokens)
    histories = torch.tensor([[0, 2, 1], [7, -1, -1]])
    assert spell(histories, tokens).tolist() == [
        [2, 3, 7, 10, 3, 6, END_TOKEN],
        [5, END_TOKEN, *[PAD_TOKEN] * 5],
    ]
    nothing = torch.full((1, 2), -1)
    assert spell(nothing, tokens).tolist() == [[END_TOKEN]]


def test_samples_are_every_next_item_given_its_history() -> None:
    recommender = Tiger(planted_identifiers(), **{**SMALL, "max_history": 2})
    seen = []
    forward = recommender.forward

    def record(history: Tensor, target: Tensor) -> dict[str, Tensor]:
        seen.extend(zip(history.tolist(), target.tolist(), strict=True))
        return forward(history, target)

    recommender.forward = record  # type: ignore[method-assign]
    recommender.fit(
        Histories.from_lists([[4, 5, 6, 7], [9], [2, 1]]),
        TrainingOptions(epochs=1, batch_size=1, learning_rate=1e-3),
    )
    spelled = recommender.item_tokens.tolist()
    expected = [([4], 5), ([4, 5], 6), ([5, 6], 7), ([2], 1)]
    assert sorted(seen) == sorted(
        ([t for i in before for t in spelled[i]] + [END_TOKEN], spelled[after])
        for before, after in expected
    )


def test_temperature_sharpens_the_loss() -> None:
    history = spell(random_histories(4, 16), torch.from_numpy(planted_identifiers().tokens))
    losses = []
    for temperature in (0.5, 1.0):
        recommender = grown(planted_identifiers(), temperature=temperature)
        target = recommender.item_tokens[:4]
        logits = recommender.logits(history, target).double() / temperature
        by_hand = -logits.log_softmax(-1).gather(2, target[..., None]).mean()
        loss = recommender(history, target)["loss"]
        assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
        losses.append(loss.item())
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_refuses_other_codebooks_and_sequences_without_a_next_item() -> None:
    recommender = Tiger(planted_identifiers(), **SMALL)
    other = Identifiers(np.zeros((1, 2), dtype=np.int32), (4, 4))
    with pytest.raises(IdentifierError, match=r"\(4, 4\) codes per level: expected \(4, 4, 4\)"):
        recommender.set_catalogue(other)
    with pytest.raises(DataError, match="none of the 2 training sequences has two items"):
        recommender.fit(
            Histories.from_lists([[1], []]), TrainingOptions(epochs=1, learning_rate=1e-3)
        )


def test_it_is_not_taught_wishes() -> None:
    recommender = Tiger(planted_identifiers(), **SMALL)
    assert not recommender.learns_wishes
    with pytest.raises(SettingsError, match="'tiger' is not taught wishes"):
        recommender.read_wishes(QueryEncoder({}), [])
    with pytest.raises(SettingsError, match="'tiger' is not taught wishes"):
        recommender.fit_wishes(torch.zeros(16, 1, 4), Histories.from_lists([]), TrainingOptions())


def test_a_folder_for_transformers_gives_the_same_logits(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    identifiers = planted_identifiers()
    recommender = grown(identifiers)
    recommender.export(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    network = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    rows = [[3, 1, 4], [2]]
    texts = ["".join(t for i in row for t in identifiers.token_names(i)) for row in rows]
    read = tokenizer(texts, padding=True, return_tensors="pt")
    padded = torch.tensor([[3, 1, 4], [2, -1, -1]])
    assert read["input_ids"].tolist() == spell(padded, recommender.item_tokens).tolist()
    assert tokenizer(texts[0].replace("><", "> <"))["input_ids"] == read["input_ids"][0].tolist()
    target = recommender.item_tokens[[5, 6]]
    with torch.no_grad():
        ours = recommender.logits(spell(padded, recommender.item_tokens), target)
        theirs = network(
            input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=target
        ).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()
