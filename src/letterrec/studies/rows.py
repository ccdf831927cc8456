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
from letterrec.training.devices import device


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        label: what people read.
        settings: ``section.key=value``, over the recipe of the recommender.
        recommender: the recipe that it starts from; None takes the one that was asked for.
        model: what ranks: a generative recommender, SASRec (the CF model itself), or popularity.
        given_identifiers: it needs identifiers that came with the data.
        needs_text: it needs items with text.
        cost: what a run takes on a processor, where that is more than a table should wait for: the
            row is then made where there is an accelerator.
    """

    label: str
    settings: tuple[str, ...] = ()
    recommender: str | None = None
    model: Model | Literal["popularity"] = "generative"
    given_identifiers: bool = False
    needs_text: bool = False
    cost: str = ""

    def unavailable(self, dataset: Dataset) -> str | None:
        """Why these data or this machine do not allow the row, in a few words; None if they do."""
        if self.given_identifiers and dataset.given_tokens is None:
            return "no identifiers came with the data"
        if self.needs_text and dataset.texts is None:
            return "the items have no text"
        if self.cost and device().type == "cpu":
            return f"needs an accelerator; on a processor: {self.cost}"
        return None


ALONE = "transitions.enabled=false"  # what compares identifiers and networks shows them alone
_PAPER = ("tokenizer.name=letter", "tokenizer.fuse_cf=false")  # the encoder reads content alone
_NO_CF, _NO_DIVERSITY = "tokenizer.alpha=0", "tokenizer.beta=0"
_PLAIN_LOSS, _RANKING_LOSS = "recommender.temperature=1.0", "recommender.temperature=0.9"
_TUNED_SASREC = (
    "collaborative.dim=64",
    "collaborative.dropout=0.5",
    "collaborative.training.learning_rate=3e-3",
    "collaborative.training.epochs=16",
)

ROWS: Mapping[str, Row] = {
    "popularity": Row("popularity", model="popularity"),
    "sasrec": Row("SASRec, full cross-entropy", (*_TUNED_SASREC, _NO_CF), "rqt", model="sasrec"),
    "host": Row("SASRec's own embeddings", recommender="rqt", model="sasrec"),
    "plain": Row("plain RQ-VAE identifiers", (*_PAPER, _NO_CF, _NO_DIVERSITY, _PLAIN_LOSS)),
    "collaborative": Row("+ collaborative term", (*_PAPER, _NO_DIVERSITY, _PLAIN_LOSS)),
    "diversity": Row("+ diversity term", (*_PAPER, _NO_CF, _PLAIN_LOSS)),
    "both": Row("+ both terms", (*_PAPER, _PLAIN_LOSS)),
    "letter": Row("LETTER, as in the paper", (*_PAPER, _RANKING_LOSS)),
    "rqkmeans": Row("RQ-KMeans identifiers", ("tokenizer.name=rqkmeans", _PLAIN_LOSS)),
    "published": Row(
        "published identifiers", ("identifiers.source=given",), given_identifiers=True
    ),
    "alone": Row("LetterRec's recipe without transitions", recommender="rqt"),
    "ours": Row("LetterRec's recipe (rqt)", ("transitions.enabled=true",), recommender="rqt"),
}


@dataclass(frozen=True)
class Table:
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

TABLES: Mapping[TableName, Table] = {
    "table1": Table(
        title="Overall performance (the paper's Table 1)",
        rows={
            "popularity": "",
            "sasrec": "SASRec",
            "plain": "TIGER",
            "rqkmeans": "",
            "letter": "LETTER-TIGER",
            "published": "LETTER-TIGER",
            "alone": "LETTER-TIGER",
            "ours": "LETTER-TIGER",
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
    "table2": Table(
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
    "table3": Table(
        title="Quantized embeddings in place of SASRec's (the paper's Table 3)",
        rows={"host": "", "plain": "TIGER", "letter": "LETTER", "ours": ""},
        differences=(("letter", "plain"), ("ours", "plain")),
        metrics=_FOUR,
        paper=paper.TABLE_3,
        until="identifiers",
    ),
    "table4": Table(
        title="Codes shared with the CF neighbour (the paper's Table 4)",
        rows={
            "plain": "TIGER",
            "rqkmeans": "",
            "letter": "LETTER",
            "published": "LETTER",
            "ours": "LETTER",
        },
        differences=(),
        metrics=("cf_overlap", "cf_overlap (given CF)"),
        paper=paper.TABLE_4,
        until="identifiers",
    ),
}


def rows_for(table: Table, dataset: Dataset) -> list[str]:
    """Names of the table's rows that these data and this machine allow."""
    return [name for name in table.rows if ROWS[name].unavailable(dataset) is None]


def settings_of(row: Row, recommender: str, seed: int, overrides: Sequence[str]) -> Settings:
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
    return load_settings(recipe, [ALONE, *kept, *row.settings, f"seed={seed}"])


def is_known(override: str, settings: Settings) -> bool:
    """Whether the chosen tokenizer or recommender has the setting; other sections are the same."""
    section, _, key = override.partition("=")[0].strip().partition(".")
    if section not in ("tokenizer", "recommender"):
        return True
    return key.partition(".")[0] in type(getattr(settings, section)).model_fields
