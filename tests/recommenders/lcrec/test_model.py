"""The language-model recommender: the seam's contract on a tiny model, the rest on SmolLM2."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from contract_recommender import (
    MAX_HISTORY,
    N_ITEMS,
    RecommenderContract,
    planted_histories,
    planted_identifiers,
    random_histories,
)
from letterrec import api
from letterrec.cli.app import app
from letterrec.config.loading import load_settings
from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.errors import DataError, IdentifierError, RequestError
from letterrec.identifiers.identifiers import Identifiers, code_token
from letterrec.identifiers.titles import title_identifiers
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.export import export, merged
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.lcrec.tasks import TASKS, Case, PromptPart, history
from letterrec.training.options import TrainingOptions
from ranking import assert_same_rankings

TITLES = [f"Lamp number {item}" for item in range(N_ITEMS)]
TEXTS = [f"{title}. A lamp with {item} bulbs" for item, title in enumerate(TITLES)]


class TestLcRec(RecommenderContract):
    training: ClassVar[dict[str, Any]] = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2}
    model: Path

    @pytest.fixture(scope="class", autouse=True)
    def _model(self, request: pytest.FixtureRequest, tiny_model: Path) -> None:
        request.cls.model = tiny_model

    def make(self, identifiers: Identifiers) -> LcRec:
        return LcRec(
            identifiers,
            model=str(self.model),
            dtype="float32",
            max_history=MAX_HISTORY,
            dropout=0.01,
        )

    def teacher_forced(
        self, recommender: LcRec, history_: Tensor, trie: Trie, codes: list[int]
    ) -> float:
        """By one plain pass over prompt and codes, without beams."""
        prompt = recommender.prompts.example(history(history_.tolist())).tokens
        offsets, tokens = recommender.offsets.tolist(), recommender.code_tokens.tolist()
        target = [tokens[o + c] for o, c in zip(offsets, codes, strict=False)]
        with torch.no_grad():
            states = recommender.read(torch.tensor([prompt + target]))[0]
            total = 0.0
            for level, code in enumerate(codes):
                logits = recommender.code_logits(states[len(prompt) - 1 + level], level)
                legal = self.legal(trie, codes[:level])
                total += float(logits[code] - logits[legal].logsumexp(0))
        return total


def test_titles_are_ranked_as_exhaustive_scoring_ranks_them(tiny_model: Path) -> None:
    tokenizer = llm.load_tokenizer(str(tiny_model))
    identifiers, _ = title_identifiers([*TITLES[:12], *TITLES[:4]], tokenizer)
    contract = TestLcRec()
    contract.model = tiny_model
    recommender, trie = contract.random(identifiers), Trie.build(identifiers)
    assert recommender.code_input is None
    prompt = recommender.prompts.example(history([3, 14])).tokens
    assert tokenizer.decode(prompt).endswith("first: Lamp number 3\nLamp number 2 #2\n")
    histories = random_histories(3, N_ITEMS)
    items, scores = search(recommender.encode(histories), trie, beam=N_ITEMS, k=N_ITEMS)
    for given, row, found in zip(histories, items.tolist(), scores.tolist(), strict=True):
        assert sorted(row) == list(range(N_ITEMS))
        for item, score in zip(row, found, strict=True):
            codes = [c for c in identifiers.codes[item].tolist() if c >= 0]
            alone = contract.teacher_forced(recommender, given[given >= 0], trie, codes)
            assert score == pytest.approx(alone, abs=1e-4)


def test_loss_on_the_answer_or_on_the_whole_text(tiny_model: Path) -> None:
    parts = [
        PromptPart("Seen: "),
        PromptPart(items=(3,)),
        PromptPart("\nNext: "),
        PromptPart(items=(5,), wanted=True),
    ]
    settings = {"model": str(tiny_model), "max_history": 4}
    answer = LcRec(planted_identifiers(), **settings)
    whole = LcRec(planted_identifiers(), **settings, loss_on="text")
    of_answer, of_text = answer.prompts.example(parts), whole.prompts.example(parts)
    assert of_answer.tokens == of_text.tokens
    assert not any(of_answer.is_text)
    assert set(of_answer.items) == {-1, 5}
    assert set(of_text.items) == {-1, 3, 5}
    start = len(whole.prompts.example([]).tokens)
    has_loss = [a or item >= 0 for a, item in zip(of_text.is_text, of_text.items, strict=True)]
    assert has_loss == [False] * start + [True] * (len(has_loss) - start)
    batch = whole.prompts.batch([of_text])
    assert torch.isfinite(whole(*batch)["loss"])


@pytest.mark.slow
def test_lora_alone_learns_titles() -> None:
    identifiers, _ = title_identifiers(TITLES, llm.load_tokenizer("smollm2"))
    torch.manual_seed(0)
    recommender = LcRec(identifiers, dtype="float32", max_history=4, dropout=0.0)
    sample = planted_histories().take(np.arange(4))
    log = recommender.fit(
        sample, TrainingOptions(epochs=2, batch_size=4, learning_rate=3e-3, warmup=0.0)
    )
    assert log.epochs[1]["loss"] < 0.95 * log.epochs[0]["loss"]
    assert all("lora_" in name for name in recommender.state_dict())


@pytest.fixture(scope="module")
def smollm2() -> LcRec:
    """The real model after a few steps."""
    torch.manual_seed(0)
    recommender = LcRec(planted_identifiers(), dtype="float32", max_history=4, dropout=0.0)
    sample = planted_histories().take(np.arange(8))
    log = recommender.fit(
        sample, TrainingOptions(epochs=2, batch_size=8, learning_rate=3e-3, warmup=0.0)
    )
    assert log.epochs[1]["loss"] < log.epochs[0]["loss"]
    return recommender


def prefix_function(codes: list[list[int]], n_prompt: int) -> Any:
    """The full trie as transformers' `generate` wants it told."""
    legal: dict[tuple[int, ...], set[int]] = {}
    for tokens in codes:
        for level, token in enumerate(tokens):
            legal.setdefault(tuple(tokens[:level]), set()).add(token)
    return lambda _, given: sorted(legal[tuple(given[n_prompt:].tolist())])


def test_merged_model_has_the_same_log_probabilities_and_lists(
    smollm2: LcRec, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(smollm2, tmp_path / "merged")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    identifiers = planted_identifiers()
    spelled = [identifiers.spelled(item) for item in range(N_ITEMS)]
    codes = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in spelled]
    assert all(len(tokens) == len(identifiers.sizes) for tokens in codes)
    items = [3, 4, 5]
    prompt = tokenizer(
        f"Chosen so far, oldest first: {''.join(spelled[i] for i in items)}", return_tensors="pt"
    )
    found = network.generate(
        **prompt,
        prefix_allowed_tokens_fn=prefix_function(codes, prompt["input_ids"].shape[1]),
        renormalize_logits=True,
        num_beams=6,
        num_return_sequences=6,
        max_new_tokens=len(identifiers.sizes),
        do_sample=False,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    ours, scores = search(
        smollm2.encode(torch.tensor([items])), Trie.build(identifiers), beam=6, k=6
    )
    n_codes = len(identifiers.sizes)
    theirs = [codes.index(tokens) for tokens in found.sequences[:, -n_codes:].tolist()]
    expected = torch.tensor([theirs]), found.sequences_scores[None]
    assert_same_rankings((ours, scores), expected, atol=1e-3)


def test_a_run_holds_only_what_was_trained(smollm2: LcRec) -> None:
    state = smollm2.state_dict()
    assert {"code_input.weight"} < state.keys()
    assert all("lora_" in name for name in state.keys() - {"code_input.weight"})
    with pytest.raises(RuntimeError, match="Missing key"):
        smollm2.load_state_dict({k: v for k, v in state.items() if "lora_A" not in k})


def case(seed: int = 0) -> Case:
    return Case([4, 5, 6], N_ITEMS, TITLES, TEXTS, np.random.default_rng(seed), "bright lamps")


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_every_task_asks_for_something_that_can_be_learned(name: str, tiny_model: Path) -> None:
    torch.manual_seed(0)
    recommender = LcRec(
        planted_identifiers(),
        titles=TITLES,
        texts=TEXTS,
        preferences=["lamps"] * len(planted_histories()),
        model=str(tiny_model),
        dtype="float32",
        tasks={name: 1.0},
    )
    log = recommender.fit(
        planted_histories(), TrainingOptions(epochs=3, batch_size=20, learning_rate=1e-2)
    )
    assert log.epochs[-1]["loss"] < 0.99 * log.epochs[0]["loss"]


def test_tasks_say_what_they_should() -> None:
    assert TASKS["seqrec"](case()) == [
        PromptPart("Chosen so far, oldest first: "),
        PromptPart(items=(4,)),
        PromptPart(items=(5, 6), wanted=True),
    ]
    assert TASKS["preference"](case())[1:] == [
        PromptPart(items=(4, 5, 6)),
        PromptPart("\nLikes: "),
        PromptPart("bright lamps", wanted=True),
    ]
    silent = replace(case(), preference="")
    assert TASKS["preference"](silent) == TASKS["seqrec"](silent)
    for seed in range(5):
        *_, titles, answer = TASKS["titles2index"](case(seed))
        assert answer in [PromptPart(items=(5,), wanted=True), PromptPart(items=(6,), wanted=True)]
        assert f"Lamp number {answer.items[0] - 1}\nNext: " in titles.text
        *_, known, answer = TASKS["item2index"](case(seed))
        item = answer.items[0]
        assert known.text.split("\n")[0] in (TITLES[item], f"A lamp with {item} bulbs")
        *_, wish, answer = TASKS["query"](case(seed))
        words = wish.text.split("Wanted now: ")[1].split("\n")[0]
        assert words in f"{TITLES[answer.items[0]]} A lamp with {answer.items[0]} bulbs"


def test_the_loss_counts_wanted_tokens_among_legal_ones(tiny_model: Path) -> None:
    torch.manual_seed(0)
    identifiers = planted_identifiers()
    recommender = LcRec(
        identifiers, model=str(tiny_model), dtype="float32", temperature=0.7, dropout=0.0
    ).eval()
    prompts, trie = recommender.prompts, Trie.build(identifiers)
    parts = [
        PromptPart("Given "),
        PromptPart(items=(2,)),
        PromptPart(items=(9,), wanted=True),
        PromptPart("red", (), True),
    ]
    batch = prompts.batch([prompts.example(parts), prompts.example(parts[:3])])
    with torch.no_grad():
        loss = recommender(*batch)["loss"]
        tokens = batch[0][0]
        states = recommender.read(tokens[None])[0]
    assert tokens[-1] == prompts.tokenizer.eos_token_id
    red = prompts.tokenizer("red")["input_ids"]
    at = len(tokens) - len(red) - 1 - identifiers.n_levels
    codes = identifiers.codes[9].tolist()
    item = 0.0
    for level, code in enumerate(codes):
        logits = recommender.code_logits(states[at - 1 + level], level).detach().double() / 0.7
        legal = RecommenderContract().legal(trie, codes[:level])
        item -= float(logits[code] - logits[legal].logsumexp(0))
    logits = recommender.network.get_output_embeddings()(states[at + len(codes) - 1 : -1])
    log_probs = (logits.detach().double() / 0.7).log_softmax(-1)
    text = -float(log_probs.gather(1, tokens[at + len(codes) :, None]).sum())
    assert loss.item() == pytest.approx((2 * item + text) / (2 * len(codes) + len(red) + 1), 1e-5)


def test_frozen_codes_stay_as_they_were_drawn(tiny_model: Path) -> None:
    torch.manual_seed(0)
    recommender = LcRec(planted_identifiers(), model=str(tiny_model), train_codes=False)
    before = recommender.code_input.weight.clone()
    recommender.fit(
        planted_histories(), TrainingOptions(epochs=1, batch_size=30, learning_rate=1e-2)
    )
    assert torch.equal(recommender.code_input.weight, before)


def test_gradient_checkpointing_changes_no_gradient(tiny_model: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        recommender = LcRec(
            planted_identifiers(),
            model=str(tiny_model),
            dtype="float32",
            dropout=0.0,
            gradient_checkpointing=checkpointing,
        ).train()
        examples = [recommender.prompts.example(TASKS["seqrec"](case()))]
        recommender(*recommender.prompts.batch(examples))["loss"].backward()
        gradients.append(
            {n: p.grad for n, p in recommender.named_parameters() if p.grad is not None}
        )
    assert any("lora_B" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_refuses_what_cannot_be(tiny_model: Path) -> None:
    with pytest.raises(DataError, match="query need words, and the items have no text"):
        LcRec(planted_identifiers(), model=str(tiny_model), tasks={"query": 1.0, "seqrec": 1.0})
    with pytest.raises(DataError, match="preference needs what users like"):
        LcRec(planted_identifiers(), texts=TEXTS, model=str(tiny_model), tasks={"preference": 1.0})
    of_one = LcRec(planted_identifiers(), preferences=["lamps"], model=str(tiny_model))
    with pytest.raises(DataError, match="for the preferences of 1 users: expected one history"):
        of_one.fit(
            planted_histories(), TrainingOptions(epochs=1, batch_size=32, learning_rate=1e-2)
        )
    recommender = LcRec(planted_identifiers(), model=str(tiny_model))
    other = Identifiers(np.zeros((1, 2), dtype=np.int32), (4, 4))
    with pytest.raises(IdentifierError, match=r"\(4, 4\) codes per level: expected \(4, 4, 4\)"):
        recommender.set_catalogue(other)


SETTINGS = [
    "data.k_core=0",
    "tokenizer.codes=16",
    "tokenizer.training.epochs=2",
    "collaborative.training.epochs=2",
    "recommender.tasks.query=0.5",
    "recommender.tasks.index2item=0.2",
    "training.epochs=2",
    "evaluation.beam=10",
]


@pytest.fixture(scope="module")
def run(small_shop: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "lcrec"
    settings = load_settings("lcrec", [*SETTINGS, f'recommender.model="{tiny_model}"'])
    api.fit(small_shop, folder, settings)
    return folder


@pytest.mark.slow
def test_a_run_recommends_items_that_exist_with_and_without_instructions(run: Path) -> None:
    engine = api.load(run)
    histories = [engine.history_of(user) for user in engine.dataset.user_ids[:20]]
    plain = engine.recommend(histories, k=10)
    asked = engine.recommend(histories, k=10, instruction="a red lipstick")
    for answer in (*plain, *asked):
        assert len({item for item, _ in answer} & set(engine.dataset.item_ids)) == 10
    assert plain != asked
    (alone,) = engine.recommend([[]], k=3, instruction="garden hose")
    assert len(alone) == 3
    assert alone != engine.recommend([[]], k=3)[0]


def test_instructions_on_the_command_line_and_to_runs_that_read_none(
    run: Path, shop_run: Path
) -> None:
    arguments = ["recommend", "--instruction", "green tea", "-k", "2", "--json", str(run)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stdout.count("log_probability") == 2
    with pytest.raises(RequestError, match="not trained to follow instructions; fit with"):
        api.load(shop_run).recommend([["i01"]], instruction="green tea")


@pytest.mark.slow
def test_a_run_that_calls_items_by_titles(
    small_shop: Path, tiny_model: Path, tmp_path: Path
) -> None:
    settings = load_settings(
        "bigrec",
        ["data.k_core=0", "training.epochs=1", f'recommender.model="{tiny_model}"'],
    )
    api.fit(small_shop, tmp_path / "run", settings)
    engine = api.load(tmp_path / "run")
    (answer,) = engine.recommend([engine.history_of(engine.dataset.user_ids[0])], k=10)
    assert len({item for item, _ in answer} & set(engine.dataset.item_ids)) == 10
    api.export(tmp_path / "run", tmp_path / "merged")
    index = json.loads((tmp_path / "merged" / "index.json").read_text("utf-8"))
    item = engine.dataset.item_ids[0]
    tokenizer = llm.load_tokenizer(str(tmp_path / "merged"))
    spelled = tokenizer.decode(tokenizer.convert_tokens_to_ids(index[item]))
    assert spelled == f"{engine.dataset.titles[0]}\n"


def test_export_of_a_run(run: Path, shop_run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "merged")])
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "index.json"} <= names
    with pytest.raises(RequestError, match="is not an empty folder"):
        api.export(run, tmp_path / "merged")
    with pytest.raises(RequestError, match="'rqt', which is no language model"):
        api.export(shop_run, tmp_path / "other")


def test_the_trie_searches_over_what_a_server_scores(smollm2: LcRec) -> None:
    """The decoder of docs/LLM.md, with the merged model in transformers as the server."""
    page = Path(__file__).parents[3] / "docs" / "LLM.md"
    (snippet,) = [b for b in page.read_text("utf-8").split("```") if "class ServedDecoder" in b]
    names: dict[str, Any] = {}
    exec(snippet, names)
    network, tokenizer = merged(smollm2)
    identifiers = planted_identifiers()

    def score(prompts: list[list[int]], tokens: list[int]) -> Tensor:
        with torch.no_grad():
            return network(torch.tensor(prompts)).logits[:, -1, tokens].log_softmax(-1)

    codes = [
        tokenizer.convert_tokens_to_ids([code_token(level, c) for c in range(size)])
        for level, size in enumerate(identifiers.sizes)
    ]
    histories = torch.tensor([[3, 4], [9, 1]])
    texts = ["".join(identifiers.spelled(i) for i in row) for row in histories.tolist()]
    prompts = tokenizer([f"Chosen so far, oldest first: {text}" for text in texts])["input_ids"]
    trie = Trie.build(identifiers)
    served = search(names["ServedDecoder"](score, prompts, codes), trie, beam=4, k=4)
    own = search(smollm2.encode(histories), trie, beam=4, k=4)
    assert_same_rankings(served, own, atol=1e-3)


@pytest.mark.slow
def test_a_run_that_learns_what_users_like(
    small_shop: Path, tiny_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "shop"
    shutil.copytree(small_shop, source)
    likes = [f"u{user},number {user % 7} things" for user in range(0, 30, 2)]
    (source / "users.csv").write_text("\n".join(["user,preference", *likes]))
    tasks = ["recommender.tasks.preference=1", "recommender.tasks.query=0"]
    settings = [*SETTINGS, *tasks, f'recommender.model="{tiny_model}"']
    api.fit(source, tmp_path / "run", load_settings("lcrec", settings))
    engine = api.load(tmp_path / "run")
    assert engine.dataset.preferences is not None
    assert engine.dataset.preferences[engine.dataset.user_rows["u8"]] == "number 1 things"
    assert len(engine.recommend([["i01"]], k=3)[0]) == 3
