"""The catalogue that follows another when edits are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.serving.catalogue.changes import Changes
from letterrec.serving.catalogue.items import Catalogue, trie_of
from letterrec.serving.catalogue.states import GONE, STATES


def successor(
    before: Catalogue, changes: Changes, trained: Catalogue, content: NDArray[np.float32] | None
) -> Catalogue:
    """The catalogue with all these edits and no others, in which rows keep their meaning.

    Args:
        before: the catalogue that it follows.
        changes: all edits since training.
        trained: the catalogue without edits.
        content: float32 ``(n_trained, d_content)``: added items inherit the transitions of
            their nearest items in it. None: they have no transitions.
    """
    n = before.n_trained
    rows, new = _places(before, changes)
    ids = before.item_ids + tuple(changes.item_ids[i] for i in new)
    identifiers, popularity, added_content = (
        before.identifiers,
        before.popularity,
        before.added_content,
    )
    if len(new):
        codes = np.concatenate([identifiers.codes, changes.codes[new]])
        identifiers = replace(identifiers, codes=codes)
        popularity = np.append(popularity, np.zeros(len(new), np.int64))
        more = changes.content[new]
        added_content = np.concatenate([added_content, more]) if len(added_content) else more
    states = np.zeros(len(ids), dtype=np.int8)
    states[n:] = GONE
    states[rows] = 0
    is_same = not len(new) and np.array_equal(states != GONE, before.is_present)
    trie, transitions = before.trie, before.transitions
    if not is_same:
        trie = trie_of(_searched(identifiers, states), popularity)
        transitions = _followed(before, changes, rows, new, trained.transitions, content)
    made = Catalogue(
        ids,
        before.came_with + tuple(changes.titles[i] for i in new),
        identifiers,
        popularity,
        states,
        n,
        changes.generation,
        trie,
        transitions,
        before.added_texts + tuple(changes.texts[i] for i in new),
        added_content,
        changes.lineage,
        attributes=before.attributes,
        domains=before.domains + _named(before, tuple(changes.domains[i] for i in new)),
        came_with_images=before.came_with_images + tuple(changes.images[i] for i in new),
    )
    if is_same:
        made.__dict__["rows"] = before.rows
    for item, state in changes.states.items():
        if item in made.rows:
            states[made.rows[item]] = STATES.index(state)
    for item, words in changes.words.items():
        if item in made.rows:
            made.edited[made.rows[item]] = words
    return made


def _places(before: Catalogue, changes: Changes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64: the row of each added item, and which of them get new rows, at the end.

    An item that was there before, gone or not, keeps its row if id, title, text, image,
    codes and content are the same.
    """
    n, n_added = before.n_trained, before.n_rows - before.n_trained
    m = len(changes.item_ids)
    codes = before.identifiers.codes[n:]
    if (
        m >= n_added
        and changes.item_ids[:n_added] == before.item_ids[n:]
        and changes.titles[:n_added] == before.came_with[n:]
        and changes.texts[:n_added] == before.added_texts
        and _named(before, changes.domains[:n_added]) == before.domains[n:]
        and changes.images[:n_added] == before.came_with_images[n:]
        and np.array_equal(changes.codes[:n_added], codes)
        and (not n_added or np.array_equal(changes.content[:n_added], before.added_content))
    ):  # edits in sequence
        return np.arange(n, n + m), np.arange(n_added, m)
    mine = zip(
        before.item_ids[n:],
        before.came_with[n:],
        before.added_texts,
        before.domains[n:],
        before.came_with_images[n:],
        [line.tobytes() for line in before.added_content],
        codes.tolist(),
        strict=True,
    )
    known = {(*words, *code): row for row, (*words, code) in enumerate(mine, start=n)}
    rows = np.zeros(m, dtype=np.int64)
    new: list[int] = []
    theirs = zip(
        changes.item_ids,
        changes.titles,
        changes.texts,
        _named(before, changes.domains),
        changes.images,
        [line.tobytes() for line in changes.content],
        changes.codes.tolist(),
        strict=True,
    )
    for i, (*words, code) in enumerate(theirs):
        row = known.get((*words, *code))
        if row is None:
            row = before.n_rows + len(new)
            new.append(i)
        rows[i] = row
    return rows, np.array(new, dtype=np.int64)


def _named(before: Catalogue, domains: tuple[str, ...]) -> tuple[str, ...]:
    """The domains of added items; those that name none are of the first."""
    return tuple(name or before.domains[0] for name in domains)


def _followed(
    before: Catalogue,
    changes: Changes,
    rows: NDArray[np.int64],
    new: NDArray[np.int64],
    trained: Transitions | None,
    content: NDArray[np.float32] | None,
) -> Transitions | None:
    """Transitions of trained and added items, at their rows of the new catalogue."""
    if trained is None or before.transitions is None or content is None:
        return before.transitions
    is_longer = len(rows) - len(new) == before.n_rows - before.n_trained
    if is_longer and before.n_items == before.n_rows:
        return before.transitions.grown(content, changes.content[new])
    grown = trained.grown(content, changes.content) if len(rows) else trained
    return grown.at_rows(np.append(np.arange(before.n_trained), rows), before.n_rows + len(new))


def _searched(identifiers: Identifiers, states: NDArray[np.int8]) -> Identifiers:
    """Identifiers for the trie, in which rows that are gone repeat those of other items.

    Such rows add no prefix, so that answers are those of a catalogue that never had them.
    """
    gone = np.flatnonzero(states == GONE)
    if not len(gone):
        return identifiers
    kept = np.flatnonzero(states != GONE)
    codes = identifiers.codes.copy()
    codes[gone] = codes[kept[np.arange(len(gone)) % len(kept)]]
    return replace(identifiers, codes=codes)
