"""Text of items: title and words out of what the cells of a catalogue hold.

The text is what the content encoder reads: no markup, scripts, addresses, prices, bare numbers or
flags.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from letterrec.data.attributes import Values, attributes_in
from letterrec.data.ids import MISSING, as_id

_TAGS = (
    "a|abbr|address|article|aside|audio|b|big|blockquote|body|br|button|caption|center|cite|code|"
    "col|colgroup|dd|del|details|div|dl|dt|em|embed|figcaption|figure|font|footer|form|h[1-6]|"
    "head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|map|mark|meta|nav|object|ol|"
    "option|p|param|picture|pre|q|s|section|select|small|source|span|strike|strong|sub|summary|"
    "sup|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video|wbr"
)
_INLINE = re.compile(r"</?(?:b|big|em|font|i|mark|s|small|span|strong|sub|sup|tt|u|wbr)\b[^<>]*>")
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.I)
_HIDDEN = re.compile(
    r"<(script|style|noscript|svg|template)\b[^>]*>.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<!doctype[^>]*>",
    re.I | re.S,
)
_SCRIPT = re.compile(  # from here on, a page's program
    r"\bvar\s+[\w$]+\s*=|\bfunction\s*[\w$]*\s*\([^()]*\)\s*\{|\bP\.when\s*\(|"
    r"\b(?:window|document)\.[\w$.]+\s*[=(]|\(new Date\(\)\)\.getTime",
)
_STYLE = re.compile(r"(?:@[\w-]+|[.#]?[A-Za-z][\w.#:-]*)[^{}<>.;]*\{[^{}]*:[^{}]*\}")
_ADDRESS = re.compile(
    r"\b(?:https?|ftps?)://[^\s<>\"]+|\bwww\.[^\s<>\"]+|\bdata:[a-z]+/[^\s,]*,[^\s]*|(?<!\S)//\w[^\s<>\"]+",
    re.I,
)
_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?|avif|mp4|webm)(?:\?\S*)?", re.I)
_PRICE = re.compile(
    r"(?:from\s+|ab\s+)?(?:US|EUR|USD|GBP|CAD|AUD|JPY|INR|CNY|CHF|Rs\.?|kr\.?)?\s*[$€£¥₹]?\s*"
    r"\d[\d.,\s]*(?:[$€£¥₹]|EUR|USD|GBP|CAD|AUD|JPY|INR|CNY|CHF|kr|zł|euros?|dollars?)?",
    re.I,
)
_NUMBER = re.compile(  # with letters in it: a moment, 1e16, inf
    r"\d{4}-\d\d-\d\d[T ][\d:.,]+\s*(?:Z|UTC|[+-][\d:]+)?|"
    r"[+-]?\d+(?:\.\d+)?e[+-]?\d+|[+-]?inf(?:inity)?",
    re.I,
)
_FLAGS = ("true", "false")
_NO_WORDS = re.compile(  # names of columns that hold none
    r"(?:.*[_\s-])?(?:ids?|urls?|uri|link|href|asin|sku|ean|gtin|upc|isbn(?:1[03])?|im(?:g|age)s?|"
    r"thumbnails?|pictures?|photos?|videos?|price|currency)|im(?:g|age)?urls?(?:highres)?|"
    r".*[a-z](?-i:Ids?|Urls?|URLs?)",
    re.I,
)
_CATEGORIES = ("categories", "category", "genres", "genre", "class")  # names of columns
_IMAGES = ("image", "image_url", "imageurl")  # names of columns
_IMAGE = re.compile(r"(?:https://|/(?![/\\]))[^\s\x00-\x1f\x7f]{1,2000}", re.I)
_BETWEEN_CATEGORIES = (">", "|", ";")  # else commas
_YEAR = re.compile(r"(?:.*[_\s-])?year|year(?:[_\s-].*|Of.*)", re.I)


class ItemText(NamedTuple):
    """An item's title, its whole text, its category with those above it, the widest first, what
    its further columns say of it, and the address of its image; empty where the source has none.
    """

    title: str
    text: str
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, Values] = MappingProxyType({})
    image: str = ""


def item_text(
    title: object,
    fields: Iterable[object] | Mapping[str, object] = (),
    categories: object = None,
) -> ItemText:
    """The title as it is, and the text: the words of the title, then those of every further field
    that is text (or a list of texts), without repeats.

    Of fields with names, those are left out whose names say that they hold no words. Where
    ``categories`` are not given, they are those of a field that is called so.

    >>> item = item_text("Nail &amp; polish", {"categories": ["Beauty", "Nails"], "price": "3.5"})
    >>> item.title, item.text, item.categories
    ('Nail & polish', 'Nail & polish. Beauty, Nails', ('Beauty', 'Nails'))
    >>> item.attributes
    {'categories': ('Beauty', 'Nails')}
    """
    named = fields if isinstance(fields, Mapping) else {}
    image = image_of([v for k, v in named.items() if is_image(k)])
    if categories is None:
        categories = next((v for k, v in named.items() if is_category(k) and v), None)
    shown = title_of(title)
    further = worded(fields) if isinstance(fields, Mapping) else map(words_of, fields)
    texts = [printable(t) for t in (title_words(shown), *further) if t]
    text = ". ".join(dict.fromkeys(texts))
    kept = {k: v for k, v in named.items() if not is_image(k)}
    return ItemText(shown, text, category_path(categories), attributes_in(kept), image)


def category_path(value: object) -> tuple[str, ...]:
    """A category and those above it, the widest first: of a list, or of a text with ``>``, ``|``,
    ``;`` or commas between them; of a list of lists, the first.

    >>> category_path("Beauty, Makeup, Nails"), category_path("Drama|War"), category_path(7)
    (('Beauty', 'Makeup', 'Nails'), ('Drama', 'War'), ())
    >>> category_path([["Beauty", "Hair &amp; Nails"], ["Gifts"]])
    ('Beauty', 'Hair & Nails')
    """
    if isinstance(value, str):
        words = title_words(value)
        value = words.split(next((s for s in _BETWEEN_CATEGORIES if s in words), ","))
    if not isinstance(value, list | tuple):
        return ()
    if value and isinstance(value[0], list | tuple):
        return category_path(value[0])
    return tuple(dict.fromkeys(printable(name) for name in map(words_of, value) if name))


def image_of(value: object) -> str:
    """The address of an image that a page may show: of a list, the first. It begins with
    ``https://``, or with one ``/`` where the server that shows the page has it.

    >>> image_of(["https://shop.example/a.jpg"]), image_of("/img/b.png")
    ('https://shop.example/a.jpg', '/img/b.png')
    >>> image_of("javascript:alert(1)"), image_of("http://shop.example/c.jpg"), image_of("//d")
    ('', '', '')
    """
    if isinstance(value, list | tuple):
        return next(filter(None, map(image_of, value)), "")
    return value.strip() if isinstance(value, str) and _IMAGE.fullmatch(value.strip()) else ""


def is_image(name: object) -> bool:
    """Whether a column of this name has the addresses of images."""
    return isinstance(name, str) and name.casefold() in _IMAGES


def is_category(name: object) -> bool:
    """Whether a column of this name says of what category an item is."""
    return isinstance(name, str) and name.casefold() in _CATEGORIES


def words_of(value: object) -> str:
    """The words of a further field: text, or lists of it, without repeats.

    >>> words_of("<p>Nice &amp; <b>soft</b></p><br/>"), words_of("$3.99"), words_of(["Hair", "1"])
    ('Nice & soft', '', 'Hair')
    """
    if isinstance(value, list | tuple):
        return ", ".join(dict.fromkeys(t for t in map(words_of, value) if t))
    if not isinstance(value, str):
        return ""
    text = title_words(value)
    no_words = (
        not any(c.isalpha() for c in text)
        or text.lower() in (*MISSING, *_FLAGS)
        or any(form.fullmatch(text) for form in (_FILE, _PRICE, _NUMBER))
    )
    return "" if no_words else text


def title_words(title: str) -> str:
    """A title without markup, scripts and addresses; a number or sign alone stays.

    >>> title_words("1984"), title_words('<span class="a">Soap</span>'), title_words("I <3 U")
    ('1984', 'Soap', 'I <3 U')
    """
    text = _without_markup(html.unescape(_without_markup(title)))
    return " ".join(text.split())


def _without_markup(text: str) -> str:
    if "<" in text:
        text = _TAG.sub(" ", _INLINE.sub("", _HIDDEN.sub(" ", text)))
    if "{" in text:
        script = _SCRIPT.search(text)
        text = _STYLE.sub(" ", text[: script.start()] if script else text)
    elif "(" in text or "=" in text:
        script = _SCRIPT.search(text)
        text = text[: script.start()] if script else text
    if "//" in text or "www." in text.lower() or "data:" in text.lower():
        text = _ADDRESS.sub(" ", text)
    return text


def title_of(value: object) -> str:
    """A title as it is shown: entities resolved, white space collapsed, whole numbers as digits;
    ``""`` where there is none.

    >>> title_of("Nail  &amp; polish"), title_of(1984.0), title_of("NaN"), title_of(True)
    ('Nail & polish', '1984', '', '')
    """
    if isinstance(value, list | tuple):
        return ", ".join(dict.fromkeys(t for t in map(title_of, value) if t))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = printable(value) if isinstance(value, str) else value
    try:
        shown = as_id(text) or ""
    except ValueError:  # a float of many digits
        shown = str(value)
    return " ".join(html.unescape(shown).split())


def printable(text: str) -> str:
    """Text that UTF-8 can write: a lone surrogate becomes ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def worded(row: Mapping[str, object], but: Iterable[str] = ()) -> list[str]:
    """The words in the columns of a row; columns whose names say that they hold none (ids, prices,
    addresses) are left out, and a year counts as a word.

    >>> worded({"brand": "Suds", "price": "from 3", "release_year": 1996, "stock": "7"})
    ['Suds', '1996']
    """
    left_out = set(but)
    found = []
    for name, value in row.items():
        if name in left_out or not isinstance(name, str) or _NO_WORDS.fullmatch(name):
            continue
        found.append(title_of(value) if is_year(name) else words_of(value))
    return [text for text in found if text]


def is_year(name: str) -> bool:
    """Whether a column holds years, by its name: the only numbers that are read."""
    return bool(_YEAR.fullmatch(name))
