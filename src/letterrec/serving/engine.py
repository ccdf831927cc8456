"""A run in service as a Python call: histories in, ranked items out.

The one path behind `letterrec.load`, the command line and the server. An engine may be used from
several threads: the catalogue is one immutable object that is replaced as a whole, and rows never
change their meaning, so that a query prepared before an edit can be answered after it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.config.settings import Settings
from letterrec.data import Dataset, Histories
from letterrec.data.domains import check_known, names_of, qualified
from letterrec.data.splits import returning_share
from letterrec.decoding.asked import Asked
from letterrec.decoding.ranker import Queries, Ranker
from letterrec.decoding.transitions import Transitions
from letterrec.errors import NotFound, RequestError
from letterrec.files import fingerprint, reading
from letterrec.identifiers.identifiers import Identifiers
from letterrec.runs.layout import Layout
from letterrec.runs.notebook import ShownLists
from letterrec.runs.run import Run
from letterrec.serving.behaviours import asked_behaviour, behaviours_in
from letterrec.serving.catalogue.filters import Where, as_key
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.log import Changes, read_changes, version_of
from letterrec.serving.models import Model
from letterrec.serving.queries import (
    Filter,
    Prepared,
    Query,
    Unknown,
    checked,
    has_any,
    ids_of,
    kind_of,
    listed,
    one_id,
    short,
    without_rare,
)
from letterrec.serving.reasons import Reasons
from letterrec.training.devices import device

Recommendations = list[tuple[str, float]]
_UNREAD = (-1, -1, -1)  # the version of no file
_MASKED = 2**24  # items times queries in one search, where queries bring filters of their own


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

    @property
    def identifiers(self) -> Identifiers:
        """Of all items of the catalogue."""
        return self.catalogue.identifiers

    @property
    def ranker(self) -> Ranker:
        """What ranks the items of the catalogue as it stands."""
        return self.model.ranker(self.catalogue)

    def check_searches(self) -> None:
        """Refuse a beam where nothing is searched.

        Raises:
            RequestError: all items are scored instead.
        """
        if not self.model.generates:
            raise RequestError(
                f"the run's recommender {self.settings.recommender.name!r} scores all items and "
                "searches with no beam; leave the beam out"
            )

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
            with reading(self.files.catalogue):
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
        catalogue = self.catalogue.changed(changes, self._trained, self.content)
        if not np.array_equal(catalogue.is_present, self.catalogue.is_present):
            content = self.content
            if content is not None:
                content = np.concatenate([content, catalogue.added_content])
            texts = self.dataset.texts
            # Update the model first: until the catalogue is replaced, no query uses the new rows.
            self.model.set_catalogue(
                catalogue.identifiers,
                None if content is None else torch.from_numpy(content),
                np.flatnonzero(~catalogue.is_present),
                None if texts is None else [*texts, *catalogue.added_texts],
            )
        self.catalogue = catalogue

    def history_of(self, user: object) -> list[str]:
        """A known user's items, oldest first.

        Raises:
            NotFound: the run has not seen this user.
        """
        row = self._user_row(user)
        return [self.dataset.item_ids[i] for i in self.dataset.interactions[row]]

    def behaviours_of(self, user: object) -> list[str] | None:
        """By which behaviour each item came into a known user's history; None where the run knows
        one kind of interaction.

        Raises:
            NotFound: the run has not seen this user.
        """
        dataset = self.dataset
        of_each, row = dataset.interactions.behaviours, self._user_row(user)
        if of_each is None:
            return None
        start, stop = dataset.interactions.offsets[row : row + 2]
        return [dataset.behaviours[b] for b in of_each[start:stop]]

    def _user_row(self, user: object) -> int:
        rows = self.dataset.user_rows
        known = one_id(user, "user", rows)
        row = rows.get(known)
        if row is None and self.dataset.domains is not None and not self.settings.data.join_users:
            ids = [qualified(name, known) for name in names_of(self.dataset)]
            there = [u for u in ids if u in rows]
            if len(there) > 1:
                raise NotFound(
                    f"user {user!r} is not one user: there are {' and '.join(map(repr, there))}; "
                    "name one of them"
                )
            row = rows[there[0]] if there else None
        if row is None:
            raise NotFound(
                f"user {user!r} is not among the {self.dataset.n_users} users of the run"
                f"{without_rare(self.dataset.warnings, 'users')}; give a history instead"
            )
        return row

    @cached_property
    def returning(self) -> float:
        """The share of validation targets that are in the history before them: how often people
        come back to what they had.
        """
        cases = self.dataset.held_out("valid")
        return returning_share(
            replace(cases, histories=cases.histories.only(self.dataset.seen_by()))
        )

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
                f"histories is a list of lists of item ids; {kind_of(histories)} came instead"
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
        among = self._filter(template)
        each = list(histories)
        kinds = [None] * len(each) if behaviours is None else list(behaviours)
        if len(kinds) != len(each):
            raise RequestError(f"{len(kinds)} lists of behaviours came for {len(each)} histories")
        queries = [
            self._prepared(replace(template, history=h, behaviours=b), among)
            for h, b in zip(each, kinds, strict=True)
        ]
        if not isinstance(instruction, str) and instruction is not None:
            queries = self._asked(queries, template, instruction)
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

    def _asked(
        self, queries: list[Prepared], template: Query, instructions: Sequence[str | None]
    ) -> list[Prepared]:
        """The queries, each with an instruction of its own.

        Raises:
            RequestError: there are not as many, or the recommender reads none.
        """
        if not isinstance(instructions, Sequence) or len(instructions) != len(queries):
            raise RequestError(
                f"instruction = {kind_of(instructions)}: expected one text for all histories, or a "
                f"list of one for each of the {len(queries)}"
            )
        each = [checked(replace(template, instruction=one))[2] for one in instructions]
        self._check_instruction(next(filter(None, each), None))
        return [replace(query, instruction=one) for query, one in zip(queries, each, strict=True)]

    def _check_instruction(self, instruction: str | None) -> None:
        """Refuse an instruction to a recommender that reads none."""
        if instruction is not None and not self.model.follows_instructions:
            raise RequestError(
                "the run was not trained to follow instructions; fit with: --set "
                "wishes.enabled=true (recommender rqt), or --recipe lcrec --set "
                "recommender.tasks.query=1"
            )

    def note_on(self, query: Prepared) -> str | None:
        """What should be known of a query's answer: that no item is near what it wishes for."""
        if query.instruction is None or self.model.meets(query.instruction):
            return None
        return (
            f"no item of the catalogue is near {short(repr(query.instruction))}; what comes first "
            "is the least far"
        )

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
        return self._prepared(query, self._filter(query))

    def _prepared(self, query: Query, among: Filter) -> Prepared:
        self._check_instruction(among.instruction)
        if among.beam is not None:
            self.check_searches()
        known = self.catalogue.rows
        ids = ids_of(query.history, "history", known)
        rows, skipped = self._rows(ids, "history", query.unknown, known)
        behaviours = behaviours_in(query.behaviours, ids, rows, self.dataset, known)
        k = min(among.k, self.catalogue.n_rows)
        beam = max(k, among.beam or self.settings.evaluation.beam)
        skipped = list(dict.fromkeys([*skipped, *among.skipped]))
        return Prepared(
            rows,
            k,
            beam,
            query.exclude_seen,
            among.mask,
            among.instruction,
            tuple(skipped),
            -1 if query.user is None else self._user_row(query.user),
            behaviours,
            among.behaviour,
            self.dataset.seen_by(among.behaviour),
            among.domain,
        )

    def _filter(self, query: Query) -> Filter:
        """What a query asks besides its history, checked."""
        k, beam, instruction = checked(query)
        among = None if query.where is None else self.catalogue.where(as_key(query.where))
        behaviour = asked_behaviour(
            query.behaviour, self.dataset, any_of_them=self.model.reads_behaviours
        )
        if query.domain is not None:
            check_known(query.domain, self.catalogue.domain_names)
        if query.allowed is None and not has_any(query.blocked):
            return Filter(k, beam, instruction, among, behaviour=behaviour, domain=query.domain)
        known = self.catalogue.rows
        mask = np.full(self.catalogue.n_rows, query.allowed is None)
        skipped: list[str] = []
        for name, items, value in (
            ("allowed", query.allowed, True),
            ("blocked", query.blocked, False),
        ):
            if items is not None:
                ids = ids_of(items, name, known)
                rows, unknown = self._rows(ids, name, query.unknown, known)
                mask[rows] = value
                skipped += unknown
        if among is not None:
            mask[: len(among)] &= among
            mask[len(among) :] = False
        return Filter(k, beam, instruction, mask, skipped, behaviour, query.domain)

    def _rows(
        self, ids: list[str], name: str, unknown: Unknown, known: Mapping[str, int]
    ) -> tuple[list[int], list[str]]:
        """The rows of items that are known, and the ids that are not."""
        rows = [known[item] for item in ids if item in known]
        if len(rows) == len(ids):
            return rows, []
        missing = list(dict.fromkeys(item for item in ids if item not in known))
        said = f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} {self.not_among()}"
        if unknown == "refuse":
            raise NotFound(f"{name}: {said}; leave out what is unknown, or have it skipped")
        if not rows and name != "blocked":
            raise NotFound(f"{name}: nothing of it is known: {said}; check the ids")
        return rows, missing

    def not_among(self) -> str:
        """Why an id may be unknown."""
        rare = without_rare(self.dataset.warnings, "items")
        return f"not among the {self.catalogue.n_items} items of the run{rare}"

    def answer(self, queries: Sequence[Prepared]) -> list[list[tuple[int, float]]]:
        """The best items of prepared queries, as rows with log-probabilities or scores.

        Queries are searched together where that changes no answer: those of one beam and domain.
        """
        catalogue = self.catalogue
        answers: list[list[tuple[int, float]]] = [[] for _ in queries]
        groups: dict[tuple[int, str | None], list[int]] = {}
        for i, query in enumerate(queries):
            if query.rows or query.instruction:
                groups.setdefault((query.beam, query.domain), []).append(i)
            else:
                answers[i] = _popular(catalogue, query)
        for (beam, domain), members in groups.items():
            members.sort(key=lambda i: len(queries[i].rows))  # batches of equal lengths pad little
            for batch in self._batches(queries, members, catalogue.n_rows):
                found = self._search(catalogue, [queries[i] for i in batch], beam, domain)
                for i, answer in zip(batch, found, strict=True):
                    answers[i] = answer
        return answers

    def _batches(
        self, queries: Sequence[Prepared], members: list[int], n_rows: int
    ) -> Iterator[list[int]]:
        size = self.settings.evaluation.batch_size
        if len({id(queries[i].mask) for i in members}) > 1:
            size = max(1, min(size, _MASKED // n_rows))
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _histories(self, queries: list[Prepared]) -> Histories:
        histories = Histories.from_lists([q.rows for q in queries])
        if not self.dataset.behaviours:
            return histories
        of_each = np.array([b for q in queries for b in q.behaviours], dtype=np.int8)
        return replace(histories, behaviours=of_each)

    def wished(self, query: Prepared) -> Asked | None:
        """What the wish of a query changes in what memory counts; None where it has none."""
        if query.instruction is None or not query.rows:
            return None
        return self.model.asked(self._histories([query]), [query.instruction])

    def _search(
        self, catalogue: Catalogue, queries: list[Prepared], beam: int, domain: str | None
    ) -> list[list[tuple[int, float]]]:
        histories = self._histories(queries)
        asked = seen_by = None
        if self.dataset.behaviours:
            asked = np.array([q.behaviour for q in queries], dtype=np.int64)
            everything = np.ones(self.dataset.n_behaviours, dtype=bool)
            seen_by = np.stack([everything if q.seen_by is None else q.seen_by for q in queries])
        allowed, before = _allowed(catalogue, queries, domain)
        items, scores = self.model.ranker(catalogue).rank(
            Queries(
                histories,
                max(q.k for q in queries),
                np.array([q.exclude_seen for q in queries]),
                allowed,
                beam,
                [q.instruction for q in queries],
                np.array([q.user for q in queries], dtype=np.int64),
                asked,
                seen_by,
                before,
            )
        )
        return [
            [(i, s) for i, s in zip(line, score, strict=True) if i >= 0][: query.k]
            for line, score, query in zip(items.tolist(), scores.tolist(), queries, strict=True)
        ]


def _allowed(
    catalogue: Catalogue, queries: list[Prepared], domain: str | None
) -> tuple[Tensor | None, Tensor | None]:
    """What queries of one domain may get: bool ``(n_rows,)``, or ``(batch, n_rows)`` where filters
    differ, None where none is; and what is counted of it, where a domain is all that limits them.
    """
    part = None if domain is None else catalogue.domain(domain)
    masks = [q.mask for q in queries]
    if all(m is None for m in masks):
        return (catalogue.active, None) if part is None else (part.allowed, part.before)
    if part is None and masks[0] is not None and all(m is masks[0] for m in masks):
        return catalogue.allowed(masks[0])
    if all(m is masks[0] for m in masks):
        masks = masks[:1]
    # Items that were added after a query was prepared are not among those it allows.
    flags = np.zeros((len(masks), catalogue.n_rows), dtype=bool)
    for line, mask in zip(flags, masks, strict=True):
        if mask is None:
            line[:] = True
        else:
            line[: len(mask)] = mask
    allowed = torch.from_numpy(flags).to(device())
    active = catalogue.active if part is None else part.allowed
    if active is not None:
        allowed &= active
    return allowed[0] if len(masks) == 1 else allowed, None


def _popular(catalogue: Catalogue, query: Prepared) -> list[tuple[int, float]]:
    """What an empty history gets: the items most frequent in training."""
    counts = (catalogue.popularity + 1.0) * catalogue.is_present  # no item has probability zero
    score = np.log(np.maximum(counts, 1.0) / counts.sum())
    order = np.argsort(-counts, kind="stable")
    order = order[catalogue.states[order] == 0]
    if query.domain is not None:
        order = order[catalogue.domain(query.domain).flags[order]]
    if query.mask is not None:
        known = order < len(query.mask)
        order = order[known][query.mask[order[known]]]
    return [(int(i), float(score[i])) for i in order[: query.k]]
