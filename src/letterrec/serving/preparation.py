"""Requests become prepared queries: ids become rows, and filters a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from letterrec.data import Dataset
from letterrec.data.domains import check_known
from letterrec.data.lookup import user_row, without_rare
from letterrec.errors import NotFound, RequestError
from letterrec.serving.behaviours import asked_behaviour, behaviours_in
from letterrec.serving.catalogue.filters import as_key
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.models import Model
from letterrec.serving.queries import (
    Filter,
    Prepared,
    Query,
    Unknown,
    checked,
    has_any,
    ids_of,
    listed,
    type_and_value,
)


@dataclass(frozen=True, eq=False)
class Preparation:
    """Prepares queries for one catalogue.

    Attributes:
        catalogue: as it stands.
        dataset: of the run.
        model: what will be asked.
        beam: prefixes kept per level where queries do not say.
    """

    catalogue: Catalogue
    dataset: Dataset
    model: Model
    beam: int

    def filter(self, query: Query) -> Filter:
        """What a query asks besides its history, checked.

        Raises:
            RequestError: see `Engine.recommend`; `NotFound` for unknown items.
        """
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

    def prepared(self, query: Query, among: Filter) -> Prepared:
        """A query in item rows.

        Args:
            query: whose history is looked up.
            among: what `filter` made of the rest of it.

        Raises:
            RequestError: see `Engine.recommend`; `NotFound` for unknown items and users.
        """
        if among.instruction is not None:
            self.model.check_follows()
        if among.beam is not None:
            self.model.check_searches()
        known = self.catalogue.rows
        ids = ids_of(query.history, "history", known)
        rows, skipped = self._rows(ids, "history", query.unknown, known)
        behaviours = behaviours_in(query.behaviours, ids, rows, self.dataset, known)
        k = min(among.k, self.catalogue.n_rows)
        beam = max(k, among.beam or self.beam)
        skipped = list(dict.fromkeys([*skipped, *among.skipped]))
        return Prepared(
            rows,
            k,
            beam,
            query.exclude_seen,
            among.mask,
            among.instruction,
            tuple(skipped),
            -1 if query.user is None else known_user(query.user, self.dataset),
            behaviours,
            among.behaviour,
            self.dataset.seen_by(among.behaviour),
            among.domain,
            query.explain,
        )

    def instructed(
        self, queries: list[Prepared], template: Query, instructions: Sequence[str | None]
    ) -> list[Prepared]:
        """The queries, each with an instruction of its own.

        Raises:
            RequestError: there are not as many, or the recommender reads none.
        """
        if not isinstance(instructions, Sequence) or len(instructions) != len(queries):
            raise RequestError(
                f"instruction = {type_and_value(instructions)}: expected one text for all "
                f"histories, or a list of one for each of the {len(queries)}"
            )
        each = [checked(replace(template, instruction=one))[2] for one in instructions]
        if any(each):
            self.model.check_follows()
        return [replace(query, instruction=one) for query, one in zip(queries, each, strict=True)]

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


def known_user(user: object, dataset: Dataset) -> int:
    """The row of a user of the run; see `data.lookup`.

    Raises:
        NotFound: the run has not seen this user.
    """
    row = user_row(user, dataset)
    if row is None:
        raise NotFound(
            f"user {user!r} is not among the {dataset.n_users} users of the run"
            f"{without_rare(dataset.warnings, 'users')}; give a history instead"
        )
    return row
