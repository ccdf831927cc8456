"""What the tables compare: each row is a name, a label and what sets it apart.

Adding a row is one line in `ROWS` and its name in a table's ``rows``. What a row sets wins over the
`--set` of a user, since it is what makes the row what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.data import Dataset
from letterrec.studies import Model, TableName, paper
from letterrec.studies.quantized import OVER_ROTATIONS, PROBE
from letterrec.training.devices import device


@dataclass(frozen=True)
class StudyRow:
    """One method.

    Attributes:
        label: what people read.
        settings: ``section.key=value``, over the recipe of the recommender.
        budget: settings too, which those of a user win over.
        recommender: the recipe that it starts from; None takes the one that was asked for.
        model: what ranks: a generative recommender, SASRec (the CF model itself), or popularity.
        given_identifiers: it needs identifiers that came with the data.
        needs_text: it needs items with text.
        needs_categories: it needs items with categories.
        cost: what a run takes on a processor, where that is more than a table should wait for: the
            row is then made where there is an accelerator.
    """

    label: str
    settings: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()
    recommender: str | None = None
    model: Model | Literal["popularity"] = "generative"
    given_identifiers: bool = False
    needs_text: bool = False
    needs_categories: bool = False
    cost: str = ""

    def unavailable(self, dataset: Dataset) -> str | None:
        """Why these data or this machine do not allow the row, in a few words; None if they do."""
        if self.given_identifiers and dataset.given_tokens is None:
            return "no identifiers came with the data"
        if self.needs_text and dataset.texts is None:
            return "the items have no text"
        if self.needs_categories and dataset.categories is None:
            return "the items have no categories"
        if self.cost and device().type == "cpu":
            return f"needs an accelerator; on a processor: {self.cost}"
        return None


ALONE = "transitions.enabled=false"  # what compares identifiers and networks shows them alone
_CODES_ALONE = {  # rqt, in rows that compare identifiers: ranked by what is spelled, as they are
    "rqt": ("recommender.item_weight=0", "recommender.dropout=0.15")
}
_PAPER = (  # the tokenizer of the recipe paper-letter-tiger
    "tokenizer.name=letter",
    "tokenizer.fuse_cf=false",
    "tokenizer.cf_target=raw",
    "tokenizer.input_scale=raw",
    "tokenizer.level_loss=mean",
    "tokenizer.commitment=first",
    "tokenizer.linear_path=false",
    "tokenizer.codes_from=0",
    "tokenizer.revive_until=0",
    "tokenizer.selection=collisions",
)
_BUDGET = (  # its network and training, with a hundredth of its epochs
    "tokenizer.levels=4",
    "tokenizer.codes=256",
    "tokenizer.hidden=[2048,1024,512,256,128,64]",
    "tokenizer.training.epochs=200",
    "tokenizer.training.patience=200",
    "tokenizer.training.batch_size=1024",
    "tokenizer.training.learning_rate=1e-3",
    "tokenizer.training.schedule=constant",
    "tokenizer.training.warmup=0",
    "tokenizer.training.weight_decay=1e-4",
    "tokenizer.training.clip=0",
)
_NO_CF, _NO_DIVERSITY = "tokenizer.alpha=0", "tokenizer.beta=0"
_PLAIN_LOSS, _RANKING_LOSS = "recommender.temperature=1.0", "recommender.temperature=0.7"
_LCREC_COST = "about 29 hours of one core on Beauty (docs/LLM.md)"
_BIGREC_COST = "about two days of one core on Beauty (estimated from LC-Rec's)"
_P5_TID_COST = "about six hours of two cores on Beauty (estimated from TIGER's)"

ROWS: Mapping[str, StudyRow] = {
    "popularity": StudyRow("popularity", model="popularity"),
    "sasrec": StudyRow("SASRec, full cross-entropy", recommender="sasrec"),
    "mf": StudyRow("MF (BPR)", recommender="mf"),
    "caser": StudyRow("Caser, full cross-entropy", recommender="caser"),
    "hgn": StudyRow("HGN, full cross-entropy", recommender="hgn"),
    "bert4rec": StudyRow("BERT4Rec", recommender="bert4rec"),
    "lightgcn": StudyRow("LightGCN", recommender="lightgcn"),
    "ease": StudyRow("EASE", recommender="ease"),
    "slist": StudyRow("SLIST", recommender="slist"),
    "host": StudyRow("SASRec's own embeddings", recommender="rqt", model="sasrec"),
    "bigrec": StudyRow(
        "BIGRec with SmolLM2-135M", recommender="bigrec", needs_text=True, cost=_BIGREC_COST
    ),
    "p5-tid": StudyRow("P5-TID", recommender="p5-tid", needs_text=True, cost=_P5_TID_COST),
    "p5-semid": StudyRow(
        "P5-SemID", ("tokenizer.name=p5-semid", _PLAIN_LOSS), needs_categories=True
    ),
    "p5-cid": StudyRow("P5-CID", ("tokenizer.name=p5-cid", _PLAIN_LOSS)),
    "plain": StudyRow(
        "plain RQ-VAE identifiers", (*_PAPER, _NO_CF, _NO_DIVERSITY, _PLAIN_LOSS), _BUDGET
    ),
    "collaborative": StudyRow(
        "+ collaborative term", (*_PAPER, _NO_DIVERSITY, _PLAIN_LOSS), _BUDGET
    ),
    "diversity": StudyRow("+ diversity term", (*_PAPER, _NO_CF, _PLAIN_LOSS), _BUDGET),
    "both": StudyRow("+ both terms", (*_PAPER, _PLAIN_LOSS), _BUDGET),
    "letter": StudyRow(
        "LETTER, as in the paper but for encoder and epochs", (*_PAPER, _RANKING_LOSS), _BUDGET
    ),
    "rqkmeans": StudyRow("RQ-KMeans identifiers", ("tokenizer.name=rqkmeans", _PLAIN_LOSS)),
    "published": StudyRow(
        "published identifiers", ("identifiers.source=given",), given_identifiers=True
    ),
    "lcrec": StudyRow(
        "LC-Rec with SmolLM2-135M, plain RQ-VAE identifiers",
        (*_PAPER, _NO_CF, _NO_DIVERSITY, _PLAIN_LOSS),
        _BUDGET,
        recommender="lcrec",
        needs_text=True,
        cost=_LCREC_COST,
    ),
    "letter-lcrec": StudyRow(
        "LETTER-LC-Rec with SmolLM2-135M",
        (*_PAPER, _RANKING_LOSS),
        _BUDGET,
        recommender="lcrec",
        needs_text=True,
        cost=_LCREC_COST,
    ),
    "alone": StudyRow("LetterRec's recipe without transitions", recommender="rqt"),
    "ours": StudyRow("LetterRec's recipe (rqt)", ("transitions.enabled=true",), recommender="rqt"),
}


@dataclass(frozen=True)
class PaperTable:
    """Rows side by side.

    Attributes:
        title: what people read.
        rows: name in `ROWS` -> its name in the paper's table, "" where it has none.
        differences: ``(row, row that it is compared with)``.
        metrics: what is shown.
        paper: the paper's figures: its row -> data set -> metrics.
        until: the last stage that the runs need.
    """

    title: str
    rows: Mapping[str, str]
    differences: tuple[tuple[str, str], ...]
    metrics: tuple[str, ...]
    paper: Mapping[str, Mapping[str, paper.Figures]]
    until: Literal["identifiers", "evaluation"] = "evaluation"


_FOUR = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")

TABLES: Mapping[TableName, PaperTable] = {
    "table1": PaperTable(
        title="Overall performance (the paper's Table 1)",
        rows={
            "popularity": "",
            "ease": "",
            "slist": "",
            "mf": "MF",
            "caser": "Caser",
            "hgn": "HGN",
            "bert4rec": "Bert4Rec",
            "lightgcn": "LightGCN",
            "sasrec": "SASRec",
            "bigrec": "BIGRec",
            "p5-tid": "P5-TID",
            "p5-semid": "P5-SemID",
            "p5-cid": "P5-CID",
            "plain": "TIGER",
            "rqkmeans": "",
            "letter": "LETTER-TIGER",
            "published": "LETTER-TIGER",
            "alone": "LETTER-TIGER",
            "ours": "LETTER-TIGER",
            "lcrec": "LC-Rec",
            "letter-lcrec": "LETTER-LC-Rec",
        },
        differences=(
            ("letter", "plain"),
            ("alone", "plain"),
            ("alone", "letter"),
            ("ours", "alone"),
            ("rqkmeans", "plain"),
            ("ours", "sasrec"),
        ),
        metrics=_FOUR,
        paper=paper.TABLE_1,
    ),
    "table2": PaperTable(
        title="Ablation (the paper's Table 2)",
        rows={
            "plain": "(0): TIGER",
            "collaborative": "(1): TIGER w/ c. r.",
            "diversity": "(2): TIGER w/ d. r.",
            "both": "(3): (1) w/ d. r.",
            "letter": "(4): LETTER-TIGER",
        },
        differences=(
            ("collaborative", "plain"),
            ("diversity", "plain"),
            ("both", "collaborative"),
            ("letter", "both"),
            ("letter", "plain"),
        ),
        metrics=("recall@10", "ndcg@10"),
        paper=paper.TABLE_2,
    ),
    "table3": PaperTable(
        title="Quantized embeddings in place of SASRec's (the paper's Table 3)",
        rows={"host": "", "plain": "TIGER", "letter": "LETTER", "ours": ""},
        differences=(("letter", "plain"), ("ours", "plain")),
        metrics=(*_FOUR, *OVER_ROTATIONS, PROBE),
        paper=paper.TABLE_3,
        until="identifiers",
    ),
    "table4": PaperTable(
        title="Items with a code of their CF neighbour (the paper's Table 4)",
        rows={
            "plain": "TIGER",
            "collaborative": "",
            "rqkmeans": "",
            "letter": "LETTER",
            "published": "LETTER",
            "ours": "LETTER",
        },
        differences=(),
        metrics=(
            "cf_overlap_any",
            "cf_overlap",
            "random_overlap_any",
            "cf_overlap_any (given CF)",
            "cf_overlap (given CF)",
            "level-1 codes in use",
        ),
        paper=paper.TABLE_4,
        until="identifiers",
    ),
}


def rows_for(table: PaperTable, dataset: Dataset) -> list[str]:
    """Names of the table's rows that these data and this machine allow."""
    return [name for name in table.rows if ROWS[name].unavailable(dataset) is None]


def settings_of(row: StudyRow, recommender: str, seed: int, overrides: Sequence[str]) -> Settings:
    """The settings of a row's run.

    Args:
        row: its settings come last and win.
        recommender: where the row names none.
        seed: of the run.
        overrides: ``section.key=value`` for all rows. A row with another tokenizer or recommender
            than the one asked for takes those that it has too.

    Raises:
        SettingsError: an override names what does not exist, or does not fit.
    """
    load_settings(recommender, list(overrides))  # what is misspelt must not go unseen
    recipe = row.recommender or recommender
    own = load_settings(recipe, list(row.settings))
    kept = [text for text in overrides if is_known(text, own)]
    spelled = () if row.recommender else _CODES_ALONE.get(own.recommender.name, ())
    return load_settings(
        recipe, [ALONE, *spelled, *row.budget, *kept, *row.settings, f"seed={seed}"]
    )


def is_known(override: str, settings: Settings) -> bool:
    """Whether the chosen tokenizer or recommender has the setting; other sections are the same."""
    section, _, key = override.partition("=")[0].strip().partition(".")
    if section not in ("tokenizer", "recommender"):
        return True
    return key.partition(".")[0] in type(getattr(settings, section)).model_fields
