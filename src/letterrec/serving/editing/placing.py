"""Which domain new items are of, and what their ids are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from letterrec.data.domains import qualified
from letterrec.data.readers.item_tables import read_by_domain, read_items
from letterrec.data.sources import check_domain
from letterrec.data.text import ItemText
from letterrec.errors import DataError, RequestError, quoted
from letterrec.serving.editing.edits import AddItems, Edit, PutItems
from letterrec.serving.engine import Engine


def placed(
    items: Mapping[str, ItemText], domains: Mapping[str, str], engine: Engine
) -> tuple[dict[str, ItemText], dict[str, str]]:
    """Items by their whole ids, and the domain of each; ``""``: that of the run's one source.

    In a run of several sources an id may stand alone beside its domain, which begins it then, or
    begin with a domain of the run. A domain that the run does not have is new with its items. Items
    that the catalogue has stay as they are.

    Args:
        items: id -> title and text.
        domains: id -> domain, where it is said.
        engine: of the run.

    Raises:
        RequestError: an item of a run of several sources is of no domain, a name is none, or an
            id comes twice.
    """
    found: dict[str, ItemText] = {}
    of_each: dict[str, str] = {}
    for item, words in items.items():
        domain = _domain_of(item, domains.get(item, ""), engine)
        is_plain = not domain or item.startswith(qualified(domain, ""))
        whole = item if is_plain else qualified(domain, item)
        if whole in found:
            raise RequestError(f"item {whole!r} comes twice; give each item once")
        found[whole], of_each[whole] = words, domain
    return found, of_each


def placed_edit(edit: Edit, engine: Engine) -> Edit:
    """An edit whose items have their whole ids, and each a domain.

    Raises:
        RequestError: see `placed`.
    """
    if not isinstance(edit, AddItems | PutItems):
        return edit
    items, domains = placed(edit.items, edit.domains, engine)
    return replace(edit, items=items, domains=domains)


def placed_table(
    path: Path, engine: Engine, domain: str | None = None
) -> tuple[dict[str, ItemText], dict[str, str]]:
    """The items of a table, placed: in a run of several sources by its column ``domain``, if it has
    one.

    Args:
        path: of the table.
        engine: of the run.
        domain: that all its items are of, whatever the table says; None: as said there.

    Raises:
        DataError: it is no table of items.
        RequestError: see `placed`.
    """
    if domain is None and engine.dataset.domains is not None:
        return placed(*read_by_domain(path), engine)
    items = read_items(path)
    return placed(items, {} if domain is None else dict.fromkeys(items, domain), engine)


def _domain_of(item: str, given: str, engine: Engine) -> str:
    catalogue, has_several = engine.catalogue, engine.dataset.domains is not None
    if not given and has_several:
        row = catalogue.rows.get(item)
        if row is not None:
            return catalogue.domains[row]
        given = item.partition("/")[0] if "/" in item else ""
        if given not in catalogue.domain_names:
            known = ", ".join(map(repr, catalogue.domain_names))
            raise RequestError(
                f"item {quoted(item)} is of no domain of the run; name its domain beside it (a new "
                f"one, or one of {known}), or begin its id with it"
            )
    if not given or (not has_several and given == engine.dataset.name):
        return ""
    try:
        return check_domain(given)
    except DataError:
        raise RequestError(
            f"domain {quoted(given)}: expected 1 to 100 printable characters without '/'"
        ) from None
