"""Runs on the Hugging Face Hub: pushed with a model card, and fetched to be loaded.

The Hub's own client does the work, configured as it always is: by ``HF_TOKEN``, ``HF_ENDPOINT``,
``HF_HOME``. A run holds the histories of its users; a repository is private unless said otherwise.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path

from letterrec.errors import RequestError, RunError, short
from letterrec.files import link_or_copy, write_text
from letterrec.runs.card import model_card
from letterrec.runs.layout import holds_run
from letterrec.runs.run import Run

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(run: Run, name: str, *, public: bool = False, message: str | None = None) -> str:
    """Put a run on the Hub, in one commit: all that `letterrec.load` needs, and a model card.

    Checkpoints, TensorBoard events and the report stay here.

    Args:
        run: has a trained recommender.
        name: of the repository, ``USER/NAME``; made if it is not there.
        public: let everyone see it, the users' histories included, if it is made now.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        RequestError: the name is none, or the Hub does not take it.
        RunError: the run is unfinished.
    """
    run.require("recommender")
    if not _NAME.fullmatch(str(name)):  # a call may bring anything
        raise RequestError(f"{name!r}: expected USER/NAME, the name of a repository on the Hub")
    from huggingface_hub import HfApi

    api = HfApi(library_name="letterrec")
    with tempfile.TemporaryDirectory(dir=run.folder.parent, prefix=".push-") as staged:
        folder = Path(staged)
        _copy(run, folder)
        write_text(folder / "README.md", model_card(run, name))
        try:
            api.create_repo(name, private=not public, exist_ok=True)
            with warnings.catch_warnings():  # that tables are usually in repositories of data
                warnings.simplefilter("ignore", UserWarning)
                commit = api.upload_folder(
                    repo_id=name,
                    folder_path=folder,
                    commit_message=message or f"{run.settings.recommender.name} by LetterRec",
                )
        except Exception as error:  # what the Hub's client raises differs by its transport
            raise RequestError(
                f"{name} could not be pushed to the Hub ({_reason(error)}); check the network, the "
                "name, and the token: HF_TOKEN, or huggingface-cli login"
            ) from None
    return str(commit.commit_url)


def _copy(run: Run, folder: Path) -> None:
    """What is pushed of a run: all but what belongs to its training and to this machine."""
    kept = {run.files.training.name, run.files.report.name}
    for path in sorted(run.folder.rglob("*")):
        inside = path.relative_to(run.folder)
        if path.is_file() and inside.parts[0] not in kept and not path.name.startswith("."):
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path.resolve(), folder / inside)


def is_name(text: str) -> bool:
    """Whether a text can only be the name of a run on the Hub: no folder, nor one below a folder
    that is there.
    """
    path = Path(text)
    return bool(_NAME.fullmatch(text)) and not path.exists() and not path.parent.exists()


def fetch(name: str, revision: str | None = None) -> Path:
    """Fetch a run from the Hub, or find it among those that were fetched before.

    Args:
        name: of the repository, ``USER/NAME``.
        revision: a branch, tag or commit; None: the newest.

    Returns:
        Its folder, in the cache of the Hub's client.

    Raises:
        RunError: it is out of reach, or holds no run.
    """
    from huggingface_hub import snapshot_download

    try:  # out of reach, the client takes what it fetched before
        found = snapshot_download(name, revision=revision, library_name="letterrec")
    except Exception as error:  # what the Hub's client raises differs by its transport
        raise RunError(
            f"{name} is no folder here, and could not be fetched from the Hugging Face Hub "
            f"({_reason(error)}); check the name, the network and HF_TOKEN, or make a run with: "
            f"letterrec fit SOURCE --out {name}"
        ) from None
    folder = Path(found)
    if not holds_run(folder):
        raise RunError(f"{name} on the Hub holds no run (no run.json); expected what push wrote")
    return folder


def _reason(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {short(first, 150)}" if first else type(error).__name__
