"""Where everything is in a run folder, and which folders hold a run.

No other module names what is in a run folder. What is in `data/`, `cold/` and `tokenizer/` is
named by who writes it: `data.saved`, `data.cold` and `tokenizers`.

```
RUN/
  run.json                  format, source, data fingerprints, versions, seed, commit, stages
  settings.toml             all settings
  data/                     interactions.parquet, items.parquet, attributes.parquet
  cold/                     items held out of training, where there are any
  content.safetensors       content embeddings
  collaborative.safetensors CF embeddings
  sasrec.safetensors        the model that they are from, where it was trained here
  tokenizer/                the trained tokenizer
  identifiers.parquet       one code sequence per item
  recommender.safetensors   the trained recommender
  preference.safetensors    the same after it has learned preferences, where that made it better
  transitions.safetensors   item-to-item weights, mixed into its probabilities
  wishes.safetensors        what reads wishes in words, where it was trained
  diagnostics.json          what the identifiers look like
  metrics.json              test and validation metrics, popularity beside them
  ranks.safetensors         the rank of every held-out item, behind metrics.json
  training/STAGE/           checkpoints and TensorBoard events
  training/tracker.json     what a tracker calls the run, where one is told of it
  catalogue.parquet         what was changed in the catalogue since training
  report.html               the report, unless it went elsewhere
```

Every file is written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

EmbeddingKind = Literal["content", "collaborative"]
_ABOUT = "run.json"


class Layout:
    """The paths in a run folder, whether anything is there or not.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = folder / _ABOUT
        self.settings = folder / "settings.toml"
        self.data = folder / "data"
        self.cold = folder / "cold"
        self.content = folder / "content.safetensors"
        self.collaborative = folder / "collaborative.safetensors"
        self.sasrec = folder / "sasrec.safetensors"
        self.tokenizer = folder / "tokenizer"
        self.identifiers = folder / "identifiers.parquet"
        self.recommender = folder / "recommender.safetensors"
        self.preference = folder / "preference.safetensors"
        self.transitions = folder / "transitions.safetensors"
        self.wishes = folder / "wishes.safetensors"
        self.diagnostics = folder / "diagnostics.json"
        self.metrics = folder / "metrics.json"
        self.ranks = folder / "ranks.safetensors"
        self.training = folder / "training"
        self.tracked = self.training / "tracker.json"
        self.catalogue = folder / "catalogue.parquet"
        self.catalogue_lock = folder / ".catalogue.lock"
        self.report = folder / "report.html"

    def embeddings(self, kind: EmbeddingKind) -> Path:
        """Of the embeddings of a kind."""
        return self.content if kind == "content" else self.collaborative

    @property
    def learned(self) -> dict[str, tuple[Path, ...]]:
        """What may be taken over from another run: stages in their order, and what each leaves.

        ``read`` never is: reading is what shows that the data are the same.
        """
        return {
            "content": (self.content,),
            "collaborative": (self.collaborative, self.sasrec),
            "tokenizer": (self.tokenizer,),
            "identifiers": (self.identifiers, self.diagnostics),
            "recommender": (self.recommender,),
        }


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run, be it unfinished."""
    return (folder / _ABOUT).exists()


def run_folders(under: Path) -> list[Path]:
    """The folders of runs, wherever they lie under a folder, in alphabetical order."""
    return sorted(path.parent for path in under.rglob(_ABOUT))
