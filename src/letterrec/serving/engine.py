"""A run in service as a Python call: histories in, ranked items out.

The one path behind `letterrec.load`, the command line and the server. An engine may be used from
several threads: the catalogue is one immutable object that is replaced as a whole, and rows never
change their meaning, so that a query prepared before an edit can be answered after it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.config.settings import Settings
from letterrec.data import Dataset
from letterrec.decoding.ranker import Ranker
from letterrec.errors import RequestError, quoted
from letterrec.files import fingerprint, refuse_damaged
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.runs.layout import Layout
from letterrec.runs.notebook import ShownLists
from letterrec.runs.run import Run
from letterrec.serving.behaviours import named_for_each
from letterrec.serving.catalogue.changes import Changes
from letterrec.serving.catalogue.filters import Where
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.log import read_changes, version_of
from letterrec.serving.catalogue.successor import successor
from letterrec.serving.models import Model
from letterrec.serving.overview import overview
from letterrec.serving.preparation import Preparation, known_user
from letterrec.serving.queries import Answered, Prepared, Query, Unknown, listed, type_and_value
from letterrec.serving.reasons import Reasons
from letterrec.serving.search import Found, Search, histories_of

Recommendations = list[tuple[str, float]]
_UNREAD = (-1, -1, -1)  # the version of no file


class Engine:
    """A catalogue, its identifiers and a trained model, ready to answer.

    Made by `letterrec.load`; ``run_id`` is the run's `Run.id`. The identifiers are of no levels
    where a baseline ranks.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        dataset: Dataset,
        identifiers: Identifiers,
        model: Model,
        content: NDArray[np.float32] | None = None,
        transitions: Transitions | None = None,
        *,
        run_id: str,
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self.files = Layout(folder)
        self.settings = settings
        self.dataset = dataset
        self.model = model
        self.content = content
        self._trained = Catalogue.trained(dataset, identifiers, transitions)
        self.catalogue = self._trained
        self.key = fingerprint(dataset.item_ids, identifiers.codes)
        self._changing = threading.Lock()
        self._version: tuple[int, int, int] | None = _UNREAD

    def __repr__(self) -> str:
        return (
            f"Engine({str(self.folder)!r}: {self.settings.recommender.name}, "
            f"{self.catalogue.n_items:,} items, {self.dataset.n_users:,} users)"
        )

    def _repr_html_(self) -> str:
        """In a notebook: what is served, what it can be asked, and a line that asks it."""
        name = self.settings.recommender.name
        return overview(self.folder, self.run_id, name, self.dataset, self.catalogue, self.model)

    @property
    def identifiers(self) -> Identifiers:
        """Of all items of the catalogue."""
        return self.catalogue.identifiers

    @property
    def ranker(self) -> Ranker:
        """What ranks the items of the catalogue as it stands."""
        return self.model.ranker(self.catalogue)

    @property
    def score_name(self) -> str:
        """What the score of a recommended item is: a natural logarithm, or a number of its own."""
        return "log_probability" if self.model.generates else "score"

    @property
    def titles(self) -> dict[str, str]:
        """Item id -> title."""
        catalogue = self.catalogue
        return dict(zip(catalogue.item_ids, catalogue.titles, strict=True))

    def changes_on_disk(self) -> Changes:
        """The edits in the run's folder.

        Raises:
            RunError: their file is damaged or belongs to another run.
        """
        width = None if self.content is None else self.content.shape[1]
        sizes = self._trained.identifiers.sizes
        return read_changes(self.folder, self.key, sizes, width, self._trained.rows)

    def refresh(self) -> bool:
        """Load the edits from the disk if they differ from those served; also when the file was
        replaced by an older one, or is gone. Where the folder holds another run by now, its edits
        are left alone.

        Returns:
            Whether they differed.

        Raises:
            RunError: their file is damaged; the catalogue stays as it was.
        """
        with self._changing:
            version = version_of(self.folder)
            if version == self._version or self._is_replaced():
                return False
            changes = self.changes_on_disk()
            self._version = version
            if changes.lineage == self.catalogue.lineage:
                return False
            with refuse_damaged(self.files.catalogue):
                self._apply(changes)
            return True

    def _is_replaced(self) -> bool:
        """Whether the folder, if it is there, holds another run than the one served."""
        return self.folder.is_dir() and Run.open(self.folder).id != self.run_id

    def apply(self, changes: Changes) -> None:
        """Serve an edited catalogue from now on."""
        with self._changing:
            self._version = _UNREAD  # so that the next refresh reads the file again
            if changes.lineage != self.catalogue.lineage:
                self._apply(changes)

    def _apply(self, changes: Changes) -> None:
        catalogue = successor(self.catalogue, changes, self._trained, self.content)
        is_reworded = self.model.follows_instructions and catalogue.edited != self.catalogue.edited
        if is_reworded or not np.array_equal(catalogue.is_present, self.catalogue.is_present):
            content = self.content
            if content is not None and len(catalogue.added_content):
                content = np.concatenate([content, catalogue.added_content])
            # Update the model first: until the catalogue is replaced, no query uses the new rows.
            self.model.set_catalogue(
                catalogue.identifiers,
                None if content is None else torch.from_numpy(content),
                np.flatnonzero(~catalogue.is_present),
                self._texts_of(catalogue),
            )
        self.catalogue = catalogue

    def _texts_of(self, catalogue: Catalogue) -> list[str] | None:
        """The texts of a catalogue's items, as they were last edited; None where they have none."""
        if self.dataset.texts is None:
            return None
        texts = [*self.dataset.texts, *catalogue.added_texts]
        for row, words in catalogue.edited.items():
            texts[row] = words.text
        return texts

    def history_of(self, user: object) -> list[str]:
        """A known user's items, oldest first.

        Raises:
            NotFound: the run has not seen this user.
        """
        row = known_user(user, self.dataset)
        return [self.dataset.item_ids[i] for i in self.dataset.interactions[row]]

    def behaviours_of(self, user: object) -> list[str] | None:
        """By which behaviour each item came into a known user's history; None where the run knows
        one kind of interaction.

        Raises:
            NotFound: the run has not seen this user.
        """
        dataset = self.dataset
        of_each, row = dataset.interactions.behaviours, known_user(user, self.dataset)
        if of_each is None:
            return None
        start, stop = dataset.interactions.offsets[row : row + 2]
        return [dataset.behaviours[b] for b in of_each[start:stop]]

    @cached_property
    def reasons(self) -> Reasons:
        """What explains recommended items."""
        return Reasons(
            self.dataset.training(),
            self.content,
            self.ranker.max_history,
            self.model.generates,
        )

    def recommend(
        self,
        histories: Iterable[Iterable[object]],
        k: int = 10,
        exclude_seen: bool = True,
        allowed: Iterable[object] | None = None,
        beam: int | None = None,
        instruction: str | Sequence[str | None] | None = None,
        unknown: Unknown = "skip",
        where: Where | None = None,
        behaviour: str | None = None,
        behaviours: Iterable[Sequence[str] | None] | None = None,
        domain: str | None = None,
    ) -> list[Recommendations]:
        """The ``k`` best next items for each history.

        Args:
            histories: item ids, oldest first: texts or whole numbers, in lists, tuples, arrays or
                columns of a table; the latest ones count most, and only as many as the recommender
                reads. An empty history gets the items most frequent in training.
            k: items wanted.
            exclude_seen: leave out the items of the history itself (all of it). Where the run tells
                behaviours apart: those that came by the behaviour asked for, so that what was
                viewed may be bought; of grades, all that has any.
            allowed: recommend only from these items; None allows all.
            beam: prefixes kept per level, at least ``k``, of a model that searches; None takes the
                run's.
            instruction: what is wanted, in words, beside or instead of a history ("a lipstick, no
                red"); for a recommender that was trained on such wishes (`rqt` with
                ``wishes.enabled``, `lcrec` with the task ``query``). One text for all histories, or
                one for each. Warns where no item is near what is wanted.
            unknown: what becomes of ids that the catalogue does not have: ``"skip"`` goes on
                without them and warns once of all; ``"refuse"`` raises `NotFound`.
            where: recommend only items of these attributes, as in ``{"category": "Guitars"}``; of
                several values of one attribute any will do. Attributes are the catalogue's further
                columns, and ``category`` where items have categories; items that were added since
                have none.
            behaviour: what is asked for: what will be bought, or viewed; None: the run's targets.
            behaviours: for each history the behaviour by which each of its items came, or None: all
                by the first of the run's targets.
            domain: recommend only from this one, of a run of several sources.

        Returns:
            Per history up to ``k`` pairs of item id and natural log-probability, or score where a
            baseline ranks, best first; fewer only where fewer items are left.

        Raises:
            RequestError: a history or ``allowed`` of which nothing is known, a ``k`` or ``beam``
                below 1, a value that is no id, an attribute or value that no item has, an
                instruction to a recommender that reads none, a behaviour or a domain that the
                run does not know, or a beam for a baseline.
        """
        if isinstance(histories, str | bytes | Mapping) or not isinstance(histories, Iterable):
            raise RequestError(
                "histories is a list of lists of item ids; "
                f"{type_and_value(histories)} came instead"
            )
        one = instruction if isinstance(instruction, str) or instruction is None else None
        template = Query(
            (),
            k,
            exclude_seen,
            allowed,
            (),
            beam,
            one,
            unknown,
            where=where,
            behaviour=behaviour,
            domain=domain,
        )
        preparation = self._preparation()
        among = preparation.filter(template)
        each = list(histories)
        queries = [
            preparation.prepared(replace(template, history=h, behaviours=b), among)
            for h, b in zip(each, named_for_each(behaviours, len(each)), strict=True)
        ]
        if not isinstance(instruction, str) and instruction is not None:
            queries = preparation.instructed(queries, template, instruction)
        if skipped := dict.fromkeys(item for query in queries for item in query.skipped):
            message = f"skipped {listed(list(skipped))}: {self.not_among()}"
            warnings.warn(message, UserWarning, stacklevel=2)
        answers = self.answer_ids(queries)
        wishes = {query.instruction: query for query in queries}
        for said in dict.fromkeys(filter(None, map(self.note_on, wishes.values()))):
            warnings.warn(said, UserWarning, stacklevel=2)
        return ShownLists(answers, self._title_of, self.score_name)

    def _title_of(self, item: str) -> str:
        """An item's title; its id where the catalogue has it no more."""
        catalogue = self.catalogue
        row = catalogue.rows.get(item)
        return item if row is None else catalogue.titles[row]

    def next_behaviours(
        self,
        histories: Iterable[Iterable[object]],
        behaviours: Sequence[Sequence[str] | None] | None = None,
    ) -> list[dict[str, float] | None]:
        """By which behaviour the next item of each history comes: a probability for each.

        Args:
            histories: lists of item ids, oldest first.
            behaviours: as of `recommend`.

        Returns:
            Per history behaviour -> probability, one in sum; None for a history that is empty.

        Raises:
            RequestError: the run does not predict that, or one of `recommend`.
        """
        each = list(histories)
        of_each = named_for_each(behaviours, len(each))
        if not self.model.predicts_behaviours:
            raise RequestError(
                "the run does not predict behaviours; fit a recommender that does (rqt, tiger or "
                "lcrec) to data with a column 'behaviour', or with data.grades"
            )
        queries = (Query(h, behaviours=b) for h, b in zip(each, of_each, strict=True))
        return self.behaviour_odds([self.prepare(query) for query in queries])

    def behaviour_odds(self, queries: Sequence[Prepared]) -> list[dict[str, float] | None]:
        """`next_behaviours` of prepared queries; None where the run does not predict them."""
        found: list[dict[str, float] | None] = [None] * len(queries)
        if not self.model.predicts_behaviours:
            return found
        asked = [i for i, query in enumerate(queries) if query.rows]
        size = self.settings.evaluation.batch_size
        for start in range(0, len(asked), size):
            places = asked[start : start + size]
            histories = histories_of([queries[i] for i in places], self.dataset)
            for i, odds in zip(places, self.model.next_behaviours(histories).tolist(), strict=True):
                found[i] = dict(zip(self.dataset.behaviours, odds, strict=True))
        return found

    def note_on(self, query: Prepared) -> str | None:
        """What should be known of a query's answer: that no item that it may get is near what it
        wishes for.
        """
        if query.instruction is None:
            return None
        allowed = self._search().may_get(query)
        if allowed is not None and not allowed.any():
            return None
        if self.model.meets(query.instruction, allowed):
            return None
        is_limited = query.domain is not None or query.mask is not None
        items = "item that may come back" if is_limited else "item of the catalogue"
        return f"no {items} is near {quoted(query.instruction)}; what comes first is the least far"

    def answer_ids(self, queries: Sequence[Prepared]) -> list[Recommendations]:
        """The best items of prepared queries, as ids with log-probabilities or scores."""
        answers = self.answer(queries)
        item_ids = self.catalogue.item_ids
        return [[(item_ids[i], score) for i, score in answer] for answer in answers]

    def prepare(self, query: Query) -> Prepared:
        """Check a query and turn it into rows.

        Raises:
            RequestError: see `recommend`; `NotFound` for unknown items.
        """
        preparation = self._preparation()
        return preparation.prepared(query, preparation.filter(query))

    def not_among(self) -> str:
        """Why an id may be unknown."""
        return self._preparation().not_among()

    def _preparation(self) -> Preparation:
        beam = self.settings.evaluation.beam
        return Preparation(self.catalogue, self.dataset, self.model, beam)

    def answer(self, queries: Sequence[Prepared]) -> list[list[tuple[int, float]]]:
        """The best items of prepared queries, as rows with log-probabilities or scores."""
        return [found.items for found in self._found(queries)]

    def _found(self, queries: Sequence[Prepared]) -> list[Found]:
        return self._search().found(queries)

    def _search(self) -> Search:
        size = self.settings.evaluation.batch_size
        return Search(self.catalogue, self.dataset, self.model, size)

    def answered(self, queries: Sequence[Prepared]) -> list[Answered]:
        """The same, with what else the model has to work out for them."""
        explained = [i for i, query in enumerate(queries) if query.explain]
        odds = dict(
            zip(explained, self.behaviour_odds([queries[i] for i in explained]), strict=True)
        )
        return [
            Answered(found.items, self.note_on(query), found.wished, odds.get(i))
            for i, (query, found) in enumerate(zip(queries, self._found(queries), strict=True))
        ]
