"""BIGRec's grounding: titles written freely, and the items whose titles are nearest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from contract_ranker import RankerContract
from contract_recommender import N_ITEMS, planted_histories, random_histories
from letterrec import api
from letterrec.cli.app import app
from letterrec.config.loading import load_settings
from letterrec.decoding.ranker import Queries, Ranker
from letterrec.decoding.trie import Trie
from letterrec.errors import RequestError, SettingsError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.identifiers.titles import title_identifiers
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.grounding import embed_titles, title_end, write_titles
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.lcrec.tasks import PromptPart, history

COLOURS = ("red", "green", "blue", "white", "black", "grey", "brown", "pink")
TITLES = [f"{colour} {thing}" for thing in ("lamp", "chair") for colour in COLOURS]


def grounded(model: Path, n_items: int = N_ITEMS, **settings: object) -> LcRec:
    """A model of random weights that calls items by ``TITLES``."""
    identifiers, _ = title_identifiers(TITLES[:n_items], llm.load_tokenizer(str(model)))
    torch.manual_seed(0)
    return LcRec(
        identifiers, model=str(model), dtype="float32", dropout=0.0, grounding=True, **settings
    )


def ranker_of(model: LcRec) -> Ranker:
    codes = model.item_codes.numpy().astype(np.int32)
    popularity = np.arange(len(codes), dtype=np.int64)
    return model.ranker(Trie.build(Identifiers(codes, model.sizes)), popularity)


class TestGrounded(RankerContract):
    ranker: Ranker

    @pytest.fixture(scope="class", autouse=True)
    def _ranker(self, request: pytest.FixtureRequest, tiny_model: Path) -> None:
        request.cls.ranker = ranker_of(grounded(tiny_model, 10, max_history=3))

    def make(self) -> Ranker:
        return self.ranker


def test_titles_are_written_word_by_word_the_likeliest_each_time(tiny_model: Path) -> None:
    model = grounded(tiny_model, max_history=4)
    histories = random_histories(3, N_ITEMS, longest=4)
    end, tokens = title_end(model), model.code_tokens.tolist()
    for row, found in zip(
        histories, write_titles(model, model.encode(histories), len(histories)), strict=True
    ):
        items = [item for item in row.tolist() if item >= 0]
        text = model.prompts.example(history(items)).tokens
        written: list[int] = []
        while len(written) < len(model.sizes):
            with torch.no_grad():
                state = model.read(torch.tensor([text + written]))[0, -1]
            word = int(model.code_logits(state, 0).argmax())
            if word == end:
                break
            written.append(tokens[word])
        assert found == written


def test_a_title_that_is_written_exactly_is_the_nearest(tiny_model: Path) -> None:
    model = grounded(tiny_model)
    tokenizer = llm.load_tokenizer(str(tiny_model))
    titles = [tokenizer(title, add_special_tokens=False)["input_ids"] for title in TITLES]
    catalogue = embed_titles(model, titles)
    assert model.prompts.title(3, int(model.code_tokens[title_end(model)])) == titles[3]
    distances = torch.cdist(embed_titles(model, titles[::-1]), catalogue)
    assert distances.argmin(1).tolist() == list(range(N_ITEMS))[::-1]
    assert embed_titles(model, [[]]).shape == catalogue[:1].shape


def test_the_loss_is_over_all_words_of_titles(tiny_model: Path) -> None:
    model = grounded(tiny_model, temperature=0.7).eval()
    parts = [PromptPart("Chosen: "), PromptPart(items=(2,)), PromptPart(items=(9,), wanted=True)]
    example = model.prompts.example(parts)
    words = [code for code in model.item_codes[9].tolist() if code >= 0]
    with torch.no_grad():
        loss = model(*model.prompts.batch([example]))["loss"].item()
        states = model.read(torch.tensor([example.tokens]))[0, -len(words) - 1 : -1]
    logits = model.code_logits(states, 0).double() / 0.7
    log_probs = logits.log_softmax(-1).gather(1, torch.tensor(words)[:, None])
    assert loss == pytest.approx(-float(log_probs.mean()), 1e-4)


def test_titles_are_embedded_anew_after_training(tiny_model: Path) -> None:
    model = grounded(tiny_model, max_history=3)
    queries = Queries(planted_histories().take(np.arange(3)), 5)
    before = ranker_of(model).rank(queries).scores
    assert torch.equal(ranker_of(model).rank(queries).scores, before)
    weights = {name: w + 0.3 for name, w in model.state_dict().items()}
    model.load_state_dict(weights)
    other = grounded(tiny_model, max_history=3)
    other.load_state_dict(weights)
    after = ranker_of(model).rank(queries).scores
    assert not torch.equal(after, before)
    assert torch.equal(after, ranker_of(other).rank(queries).scores)


@pytest.mark.slow
def test_a_run_with_grounding_scores_its_items(
    small_shop: Path, tiny_model: Path, tmp_path: Path
) -> None:
    small = ["data.k_core=0", "training.epochs=1", f'recommender.model="{tiny_model}"']
    more = ["recommender.grounding=true", "recommender.popularity=0.5"]
    api.fit(small_shop, tmp_path / "run", load_settings("bigrec", [*small, *more]))
    result = CliRunner().invoke(
        app, ["recommend", str(tmp_path / "run"), "--user", "u1", "-k", "5", "--json"]
    )
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["items"]) == 5
    assert "log_probability" not in result.stdout
    assert "beam" not in api.evaluate(tmp_path / "run", "valid")
    with pytest.raises(RequestError, match="scores all items and searches with no beam"):
        api.evaluate(tmp_path / "run", beam=30)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("identifiers.source=learned", "grounding compares titles: set identifiers.source"),
        ("transitions.enabled=true", "grounding gives distances"),
    ],
)
def test_settings_that_do_not_go_with_grounding(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("bigrec", ["recommender.grounding=true", override])
