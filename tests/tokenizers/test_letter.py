from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import letterrec.training.checkpoints
import letterrec.training.steps
from conftest import Cut, cut_at_step, steps_done
from contract_tokenizer import CF, CONTENT, CodebookContract, training
from letterrec.config.tokenizers import LetterSettings
from letterrec.errors import SettingsError
from letterrec.identifiers.diagnostics import (
    cf_overlap,
    cf_overlap_any,
    collision_rate,
    random_overlap_any,
)
from letterrec.tokenizers import Items
from letterrec.tokenizers.fitting import Fitting, prepare_cf
from letterrec.tokenizers.inputs import Inputs
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.tokenizers.rqvae import RQVAE
from letterrec.training.devices import set_seed

EPOCHS = 10
PAPER = {
    "fuse_cf": False,
    "cf_target": "raw",
    "input_scale": "raw",
    "level_loss": "mean",
    "commitment": "first",
    "linear_path": False,
    "codes_from": 0.0,
    "revive_until": 0.0,
    "selection": "collisions",
}


def small(**settings: object) -> LetterTokenizer:
    defaults = {"levels": 3, "codes": 16, "dim": 8, "hidden": (64,)}
    return LetterTokenizer(**{**defaults, **settings})


@pytest.mark.slow
class TestLetter(CodebookContract):
    name = "letter"

    def make(self, **settings: int) -> LetterTokenizer:
        return small(**settings)

    def fit(self, tokenizer: LetterTokenizer, items: Items, seed: int = 0) -> LetterTokenizer:
        return tokenizer.fit(items, training(seed=seed, epochs=EPOCHS, learning_rate=1e-2))


class TestPlainRQVAE(TestLetter):
    """alpha = beta = 0, TIGER's tokenizer."""

    def make(self, **settings: int) -> LetterTokenizer:
        return small(**settings, alpha=0, beta=0, fuse_cf=False)


class TestAsInThePaper(TestLetter):
    """Every setting in which the paper's tokenizer differs from the default."""

    def make(self, **settings: int) -> LetterTokenizer:
        return small(**settings, **PAPER)


def test_the_defaults_are_those_of_the_settings():
    settings = LetterSettings().model_dump(exclude={"name", "training"})
    settings |= {
        "hidden": list(settings["hidden"]),
        **LetterSettings().code_space(12_000)._asdict(),
    }
    own = LetterTokenizer().settings
    assert {name: own[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("cf", "message"),
    [
        (None, r"tokenizer\.alpha = 1 needs CF embeddings, and there are none"),
        (CF[:, :4], r"shape \(240, 4\); expected \(240, 8\).*tokenizer\.dim"),
        (CF[:9], r"shape \(9, 8\); expected \(240, 8\)"),
        (np.full_like(CF, np.inf), r"NaN or infinity \(first in row 0\)"),
    ],
)
def test_cf_embeddings_that_do_not_fit_are_refused(cf: NDArray[np.float32], message: str):
    with pytest.raises(SettingsError, match=message):
        small(alpha=1).fit(Items(CONTENT, cf), training(epochs=1))


def test_without_the_collaborative_term_no_cf_is_needed():
    tokenizer = small(alpha=0).fit(Items(CONTENT), training(epochs=2))
    assert tokenizer.quantize(Items(CONTENT)).shape == (240, 3)


def test_neither_the_scale_nor_the_place_of_the_inputs_matters():
    plain = small().fit(Items(CONTENT, CF), training(epochs=4))
    moved = small().fit(
        Items(64 * CONTENT, 16 * CF), training(epochs=4)
    )  # powers of two: the same roundings
    assert np.array_equal(
        plain.quantize(Items(CONTENT, CF)), moved.quantize(Items(64 * CONTENT, 16 * CF))
    )
    shifted = prepare_cf(100 * CF + 7)
    assert np.allclose(shifted, prepare_cf(CF), atol=1e-4)


def random_catalogue(n: int = 600) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Content and CF embeddings that know nothing of each other."""
    random = np.random.default_rng(0)
    content = random.normal(size=(n, 24)).astype(np.float32)
    directions = random.normal(size=(30, 8))
    cf = directions[random.integers(0, 30, n)] + 0.1 * random.normal(size=(n, 8))
    return content, cf.astype(np.float32)


def overlap_of(content: NDArray[np.float32], cf: NDArray[np.float32], **settings: object) -> float:
    tokenizer = small(alpha=0, beta=0, **settings)
    tokenizer.fit(Items(content, cf), training(epochs=12, learning_rate=1e-2))
    return cf_overlap(tokenizer.quantize(Items(content, cf)), cf)


@pytest.mark.slow
def test_cf_neighbours_come_together_by_the_inputs():
    content, cf = random_catalogue()
    plain = overlap_of(content, cf, fuse_cf=False)
    assert overlap_of(content, cf, fuse_cf=True) > 3 * plain  # 8 to 10, whatever the seed


@pytest.mark.slow
def test_the_collaborative_term_is_as_strong_as_its_setting():
    content, cf = random_catalogue()
    reached = []
    for alpha in (1e-6, 18):
        tokenizer = small(alpha=alpha, beta=0, fuse_cf=False)
        tokenizer.fit(Items(content, cf), training(epochs=12, learning_rate=1e-2))
        reached.append(tokenizer.log.epochs[-1]["collaborative"])
    assert reached[1] < 0.95 * reached[0]  # 0.90, whatever the seed


@pytest.mark.slow
def test_at_the_papers_alpha_cf_neighbours_share_codes():
    """Most of what sets the content apart says nothing of the CF embeddings, a small part all."""
    random = np.random.default_rng(0)
    meaning, liked = random.integers(0, 30, (2, 600))
    content = random.normal(size=(30, 16))[meaning]
    content = np.hstack([content, 0.3 * random.normal(size=(30, 16))[liked]])
    content += 0.05 * random.normal(size=content.shape)
    content /= np.linalg.norm(content, axis=1, keepdims=True)  # as text encoders give it
    cf = random.normal(size=(30, 8))[liked] + 0.1 * random.normal(size=(600, 8))
    items = Items(content.astype(np.float32), cf.astype(np.float32))
    above_chance = []
    for alpha in (0.0, 0.02):
        tokenizer = small(**PAPER, alpha=alpha, beta=0).fit(
            items,
            training(
                epochs=25,
                learning_rate=1e-3,
                schedule="constant",
                warmup=0.0,
                weight_decay=1e-4,
                clip=0.0,
            ),
        )
        codes = tokenizer.quantize(items)
        above_chance.append(cf_overlap_any(codes, cf) - random_overlap_any(codes))
    assert above_chance[0] < 0.12  # 0 to .09 over seeds
    assert above_chance[1] > 0.18  # .25 to .31 over seeds


def test_the_papers_content_is_read_as_it_is():
    tokenizer = small(**PAPER).fit(Items(CONTENT, CF), training(epochs=2))
    items = Items(CONTENT, CF)
    first = tokenizer.codebooks, tokenizer.quantize(items)
    again = small(**PAPER).fit(Items(2 * CONTENT, CF), training(epochs=2))
    assert not np.array_equal(first[0], again.codebooks)
    assert np.array_equal(first[1], tokenizer.quantize(Items(CONTENT)))  # no CF embedding is read


def network(**settings: object) -> RQVAE:
    set_seed(0)
    defaults = {"levels": 3, "codes": 16, "dim": 8, "hidden": (32,), "mu": 0.25}
    defaults |= {"alpha": 0.0, "beta": 1.0}
    made = RQVAE(inputs=Inputs(24), **defaults | settings)
    set_seed(1)
    return made


def test_the_mean_over_levels_is_a_third_of_the_sum_over_three():
    content = torch.from_numpy(CONTENT)
    summed = network()(content)
    set_seed(1)
    mean = network(level_loss="mean")(content)
    for term in ("quantization", "diversity"):
        assert mean[term].item() == pytest.approx(summed[term].item() / 3, rel=1e-5)
    assert mean["reconstruction"] == summed["reconstruction"]


def test_without_a_linear_path_the_layers_are_all():
    alone = network(linear_path=False)
    assert not any("straight" in name for name in alone.state_dict())
    content = torch.from_numpy(CONTENT)
    assert torch.equal(alone.encoder(content), alone.encoder.layers(content))
    before = alone.encoder(content)
    alone.start_linear(content)
    assert torch.equal(alone.encoder(content), before)


def fitting(codes_from: float, revive_until: float) -> tuple[RQVAE, Fitting]:
    made = network()
    return made, Fitting(made, CONTENT, None, 8, 64, 4, 0, codes_from, revive_until)


def test_codes_begin_with_the_first_latents_or_later():
    at_once, parts = fitting(0.0, 0.0)
    drawn = at_once.quantizer.codebooks.detach().clone()
    parts.before_epoch(0)
    assert at_once.with_codes
    assert not torch.equal(at_once.quantizer.codebooks, drawn)
    late, parts = fitting(0.5, 0.0)
    parts.before_epoch(3)
    assert not late.with_codes
    assert torch.equal(late.quantizer.codebooks, drawn)
    parts.before_epoch(4)
    assert late.with_codes
    assert not torch.equal(late.quantizer.codebooks, drawn)


@pytest.mark.parametrize(("revive_until", "moves"), [(0.0, False), (0.5, True)])
def test_unused_codes_are_revived_or_left(revive_until: float, moves: bool):
    made, parts = fitting(0.0, revive_until)
    parts.before_epoch(0)
    with torch.no_grad():
        made.quantizer.codebooks[0, 3] = 1e4  # far from every latent
    parts.before_epoch(1)
    assert (made.quantizer.codebooks[0, 3].max() < 1e3) == moves


@pytest.mark.slow
def test_fewest_collisions_select_the_weights():
    tokenizer = small(**PAPER).fit(Items(CONTENT, CF), training(epochs=20, learning_rate=1e-2))
    entries = [e for e in tokenizer.log.epochs if "valid/collision_rate" in e]
    fewest = min(e["valid/collision_rate"] for e in entries)
    assert tokenizer.log.best == pytest.approx(1 - fewest)
    assert collision_rate(tokenizer.quantize(Items(CONTENT, CF))) == pytest.approx(fewest)


@pytest.mark.slow
def test_the_diversity_term_is_as_strong_as_its_setting():
    """Over three seeds: the codes that k-means finds first say what one of them reaches."""
    reached = []
    for beta in (1e-6, 3.0):
        logs = []
        for seed in range(3):
            tokenizer = small(alpha=0, beta=beta, clusters=4)
            tokenizer.fit(Items(CONTENT), training(seed=seed, epochs=16, learning_rate=1e-2))
            logs.append(tokenizer.log.epochs[-1]["diversity"])
        reached.append(sum(logs))
    assert reached[1] < 0.9 * reached[0]  # about 0.8


@pytest.mark.slow
def test_the_log_says_what_the_score_is_made_of():
    tokenizer = small().fit(Items(CONTENT, CF), training(epochs=EPOCHS))
    entry = tokenizer.log.epochs[tokenizer.log.best_epoch]
    cf = max(0.0, 1 - entry["valid/collaborative"] / np.log(240))
    kept = (1 - entry["valid/reconstruction_error"] + cf) / 2
    expected = kept * entry["valid/codes_used"] * (1 - entry["valid/collision_rate"])
    assert entry["valid/score"] == pytest.approx(expected)
    assert entry["valid/collision_rate"] == collision_rate(tokenizer.quantize(Items(CONTENT, CF)))
    assert tokenizer.log.best == entry["valid/score"]


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 4, 9])
def test_an_interrupted_training_resumes_to_the_same_identifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
):
    """Before there are codes, while dead ones are revived, and after."""

    def interrupt(seed: int, *salt: int) -> None:
        if salt == (epoch,):
            raise Interrupted
        set_seed(seed, *salt)

    whole = small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS))
    with monkeypatch.context() as patch:
        patch.setattr(letterrec.training.checkpoints, "AFTER_EPOCH", 0.0)
        patch.setattr(letterrec.training.steps, "set_seed", interrupt)
        with pytest.raises(Interrupted):
            small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS, folder=tmp_path))
    assert (tmp_path / "checkpoint.safetensors").exists()
    torch.rand(7)  # another random state than the first sitting's
    resumed = small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS, folder=tmp_path))
    assert len(resumed.log.epochs) == EPOCHS
    assert np.array_equal(resumed.assign(Items(CONTENT, CF)), whole.assign(Items(CONTENT, CF)))
    assert np.array_equal(resumed.codebooks, whole.codebooks)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 4, 9])
def test_a_training_cut_within_an_epoch_resumes_to_the_same_identifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
):
    """The codes' clusters and whether there are codes are no weights, and kept all the same."""
    whole = small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS))
    with monkeypatch.context() as patch:
        cut_at_step(patch, 12 * epoch + 5)  # an epoch of a small catalogue has 12 steps
        with pytest.raises(Cut):
            small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS, folder=tmp_path))
    assert steps_done(tmp_path) == 5
    torch.rand(7)
    resumed = small().fit(Items(CONTENT, CF), training(seed=3, epochs=EPOCHS, folder=tmp_path))
    assert np.array_equal(resumed.assign(Items(CONTENT, CF)), whole.assign(Items(CONTENT, CF)))
    assert np.array_equal(resumed.codebooks, whole.codebooks)
    assert [e["loss"] for e in resumed.log.epochs] == [e["loss"] for e in whole.log.epochs]


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_tiny_catalogue_works_with_the_default_code_space(n: int):
    tokenizer = LetterTokenizer(dim=8, hidden=(32,)).fit(
        Items(CONTENT[:n], CF[:n]), training(epochs=3)
    )
    identifiers = tokenizer.assign(Items(CONTENT[:n], CF[:n]))
    assert len(np.unique(identifiers, axis=0)) == n


@pytest.mark.slow
def test_an_epoch_of_a_small_catalogue_has_enough_steps():
    tokenizer = small(alpha=0, beta=0).fit(Items(CONTENT), training(epochs=10, learning_rate=3e-3))
    assert tokenizer.reconstruction_error(Items(CONTENT)) < 0.5


def test_constant_dimensions_of_the_content_do_no_harm():
    content = np.concatenate([CONTENT, np.full((240, 2), 5, dtype=np.float32)], 1)
    tokenizer = small(alpha=0).fit(Items(content), training(epochs=3))
    assert np.isfinite(tokenizer.reconstruction_error(Items(content)))


def test_codes_are_found_in_float32_where_training_is_not():
    network = RQVAE(
        inputs=Inputs(24), levels=3, codes=16, dim=8, hidden=(32,), mu=0.25, alpha=1, beta=1e-4
    )
    with torch.autocast("cpu", torch.bfloat16):
        parts = network(torch.from_numpy(CONTENT), torch.from_numpy(CF))
    assert {value.dtype for value in parts.values()} == {torch.float32}
    assert set(parts) == {"loss", "reconstruction", "quantization", "collaborative", "diversity"}
    own = parts["reconstruction"] + parts["quantization"]
    own = own + parts["collaborative"] + 1e-4 * parts["diversity"]
    assert parts["loss"].item() == pytest.approx(own.item(), rel=1e-6)
