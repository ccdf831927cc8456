"""A catalogue's changes while edits are made: what is checked, and what becomes of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from letterrec.data.text import ItemText, item_text, printable, title_words
from letterrec.errors import Conflict, NotFound, Overloaded, RequestError, RunError, quoted
from letterrec.serving.catalogue.changes import Changes, Receipt, Words
from letterrec.serving.catalogue.states import State
from letterrec.serving.editing.edits import AddItems, ChangeItem, Edit, Key, PutItems, SetStates
from letterrec.serving.engine import Engine
from letterrec.tokenizers.base import Codes

Embedding = NDArray[np.float32]  # (d_content,)
_LONGEST_ID = 256  # characters
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they reorder what follows


class Draft:
    """The catalogue's changes plus pending edits, whose new items have no identifiers yet.

    An edit comes placed (`placing.placed_edit`), and is made as a whole or, where it raises, not at
    all.
    """

    def __init__(self, engine: Engine, changes: Changes) -> None:
        self._engine = engine
        self._trained = engine.dataset.item_rows
        self._codes = engine.identifiers.codes[: engine.dataset.n_items]
        self._width = None if engine.content is None else engine.content.shape[1]
        self._changes = changes
        self._added = {item: place for place, item in enumerate(changes.item_ids)}
        self._states = dict(changes.states)
        self._words = dict(changes.words)
        self._receipts = dict(changes.receipts)
        self._new: dict[str, ItemText] = {}
        self._domains: list[str] = []
        self._content: list[Embedding] = []
        self.is_changed = False

    def known_receipt(self, key: Key | None) -> Receipt | None:
        """What an edit with this key did; None if there was none.

        Raises:
            Conflict: it asked for something else.
        """
        found = None if key is None else self._receipts.get(key.name)
        if found is not None and key is not None and found.request != key.request:
            raise Conflict(
                "this Idempotency-Key came with another request before; give each request a key "
                "of its own"
            )
        return found

    def texts_to_encode(self, edit: Edit) -> dict[str, str]:
        """The texts of the items that an edit would add: id -> text.

        Raises:
            LetterRecError: the edit is not possible.
        """
        if isinstance(edit, SetStates | ChangeItem) or self.known_receipt(edit.key) is not None:
            return {}
        new = edit.items
        if isinstance(edit, PutItems):
            self._check_put(new)
            new = self._unknown(new)
        if new:
            self._check_new(new)
        return {item: words.text for item, words in new.items()}

    def make(self, edit: Edit, content: Mapping[str, Embedding]) -> Receipt:
        """Make an edit.

        Args:
            edit: to make.
            content: of the items that it adds, by id.

        Raises:
            LetterRecError: why it was refused.
        """
        known = self.known_receipt(edit.key)
        if known is not None:
            return known
        added = changed = 0
        if isinstance(edit, AddItems):
            added = self._add(edit.items, edit.domains, content)
        elif isinstance(edit, PutItems):
            added, changed = self._put(edit.items, edit.domains, content)
        elif isinstance(edit, SetStates):
            changed = self._set_states(edit.states)
        else:
            changed = self._change(edit)
        if added or changed or edit.key is not None:
            self.is_changed = True
        request = "" if edit.key is None else edit.key.request
        receipt = Receipt(request, self._generation, added, changed)
        if edit.key is not None:
            self._receipts[edit.key.name] = receipt
        return receipt

    @property
    def _generation(self) -> int:
        return self._changes.generation + self.is_changed

    def _add(
        self,
        items: dict[str, ItemText],
        domains: dict[str, str],
        content: Mapping[str, Embedding],
    ) -> int:
        self._check_new(items)
        if not items.keys() <= content.keys():
            raise Overloaded("the catalogue was replaced at the same time; try again")
        vectors = [content[item] for item in items]
        self._new |= items
        self._domains += [domains[item] for item in items]
        self._content += vectors
        return len(items)

    def _put(
        self,
        items: dict[str, ItemText],
        domains: dict[str, str],
        content: Mapping[str, Embedding],
    ) -> tuple[int, int]:
        self._check_put(items)
        new = self._unknown(items)
        if new:
            self._add(new, domains, content)
        known = [item for item in items if item not in new]
        return len(new), sum(self._show(item, self._put_words(item, items[item])) for item in known)

    def _put_words(self, item: str, new: ItemText) -> Words:
        """What an item is given: its title, text and image each stay where none comes."""
        old = self._words_of(item)
        title = new.title or ("" if old.title == item else old.title)
        further = _further(new.title, new.text) or _further(old.title, old.text)
        texts = [t for t in (printable(title_words(title)), further) if t]
        return Words(title, ". ".join(dict.fromkeys(texts)), new.image or old.image)

    def _change(self, edit: ChangeItem) -> int:
        item = edit.item
        is_deleted = self._states.get(item) == "deleted"
        if not self._is_known(item) or (is_deleted and edit.state in (None, "deleted")):
            raise NotFound(f"item {item!r} is not in the catalogue; check the id")
        changed = 0
        if not (edit.title is None and edit.text is None and edit.image is None):
            words = self._edited(item, edit)
            if not words.text.strip():
                raise _wordless(item)
            if edit.title is not None:
                _check_title(item, words.title)
            changed += self._show(item, words)
        if edit.state is not None:
            changed += self._set_states({item: edit.state})
        return min(changed, 1)

    def _edited(self, item: str, edit: ChangeItem) -> Words:
        """An item's words after a change: the text begins with the words of the title."""
        old = self._words_of(item)
        image = old.image if edit.image is None else edit.image
        if edit.title is None and edit.text is None:
            return old._replace(image=image)
        further = _further(old.title, old.text) if edit.text is None else edit.text
        made = item_text(old.title if edit.title is None else edit.title, [further])
        return Words(made.title or item, made.text, image)

    def _show(self, item: str, words: Words) -> int:
        """Show these from now on; 1 if they are others than before."""
        words = words._replace(title=words.title or item)
        if self._words_of(item) == words:
            return 0
        if self._came_with(item) == words:
            del self._words[item]
        else:
            self._words[item] = words
        return 1

    def _words_of(self, item: str) -> Words:
        return self._words.get(item) or self._came_with(item)

    def _came_with(self, item: str) -> Words:
        """What an item came with."""
        if item in self._new:
            new = self._new[item]
            return Words(new.title or item, new.text, new.image)
        place = self._added.get(item)
        if place is not None:
            old = self._changes
            return Words(old.titles[place], old.texts[place], old.images[place])
        dataset, row = self._engine.dataset, self._trained[item]
        return Words(
            dataset.titles[row],
            "" if dataset.texts is None else dataset.texts[row],
            "" if dataset.images is None else dataset.images[row],
        )

    def _check_put(self, items: Mapping[str, ItemText]) -> None:
        for item, words in items.items():
            if self._states.get(item) == "deleted":
                raise _deleted(item)
            if not words.text.strip() and not self._is_known(item):
                raise _wordless(item)
            if not words.text.strip() and not words.image:
                raise RequestError(
                    f"nothing is given for item {item!r}; give its title, its text or its image"
                )
            _check_title(item, words.title)

    def _check_new(self, items: Mapping[str, ItemText]) -> None:
        """Refuse items that no identifier can be made for, or whose ids are taken."""
        engine = self._engine
        for item in items:
            if self._states.get(item) == "deleted":
                raise _deleted(item)
            if self._is_known(item):
                raise Conflict(
                    f"item {item!r} is already in the catalogue, and its identifier does not "
                    "change; leave it out, or add it under another id"
                )
        if (source := engine.settings.content).is_file:
            raise RequestError(
                f"{engine.folder} cannot take new items by their texts: its content is the vectors "
                f"of {source.source}; add theirs to the file, and the items to the log: letterrec "
                f"refit {engine.folder} --data NEW"
            )
        if engine.content is None or not engine.files.tokenizer.is_dir():
            raise RequestError(
                f"{engine.folder} cannot take new items: its identifiers were not made from "
                "item texts by a tokenizer of its own; fit a run on items with texts"
            )
        for item, words in items.items():
            if not item.strip() or len(item) > _LONGEST_ID or not item.isprintable():
                raise RequestError(
                    f"item id {quoted(item)}: expected 1 to {_LONGEST_ID} printable characters"
                )
            if not words.text.strip():
                raise _wordless(item)
            _check_title(item, words.title)

    def _set_states(self, states: dict[str, State]) -> int:
        """Set the states of items, or of none; deleting twice is a mistake."""
        for item, state in states.items():
            is_deleted = self._states.get(item) == "deleted"
            if not self._is_known(item) or (state == "deleted" and is_deleted):
                raise NotFound(f"item {item!r} is not in the catalogue; check the id")
        changed = 0
        for item, state in states.items():
            if self._states.get(item, "active") == state:
                continue
            changed += 1
            if state == "active":
                del self._states[item]
            else:
                self._states[item] = state
        return changed

    def _is_known(self, item: str) -> bool:
        return item in self._trained or item in self._added or item in self._new

    def _unknown(self, items: Mapping[str, ItemText]) -> dict[str, ItemText]:
        return {item: words for item, words in items.items() if not self._is_known(item)}

    def finished(self, assign: Callable[[NDArray[np.float32], Codes], Codes]) -> Changes:
        """The changes, with an identifier for every new item.

        Args:
            assign: gives new items of content ``(n, d_content)`` identifiers that are not among
                those taken.
        """
        old = self._changes
        states: Any = self._states
        changes = replace(
            old,
            states=states,
            words=self._words,
            receipts=self._receipts,
            generation=self._generation,
            lineage=uuid4().hex,
        )
        if not self._new:
            return changes
        content = np.stack(self._content)  # (n_new, d_content)
        if content.shape[1] != self._width:
            raise RunError(
                f"the encoder gives {content.shape[1]} numbers per item where the run's items have "
                f"{self._width}; add items with the encoder that the run was fitted with"
            )
        codes = assign(content, np.concatenate([self._codes, old.codes]))
        return replace(
            changes,
            item_ids=old.item_ids + tuple(self._new),
            titles=old.titles + tuple(w.title or i for i, w in self._new.items()),
            texts=old.texts + tuple(w.text for w in self._new.values()),
            codes=np.concatenate([old.codes, codes]),
            content=np.concatenate([old.content, content]) if len(old.content) else content,
            domains=(*old.domains, *self._domains),
            images=old.images + tuple(w.image for w in self._new.values()),
        )


def _further(title: str, text: str) -> str:
    """A text without the words of the title, if it begins with them."""
    words = printable(title_words(title))
    return "" if text == words else text.removeprefix(f"{words}. ")


def _check_title(item: str, title: str) -> None:
    """Refuse characters that are not shown but change what is shown.

    Raises:
        RequestError: the title has one.
    """
    for character in title:
        if unicodedata.category(character) == "Cc" or character in _DIRECTIONS:
            raise RequestError(
                f"item {item!r}: its title has the control character U+{ord(character):04X}; "
                "expected printable characters"
            )


def _deleted(item: str) -> Conflict:
    return Conflict(
        f"item {item!r} was deleted, and its id stays taken; restore it, or add it under another id"
    )


def _wordless(item: str) -> RequestError:
    return RequestError(
        f"item {item!r} has neither title nor text; its identifier is made from them: "
        "give at least a title"
    )
