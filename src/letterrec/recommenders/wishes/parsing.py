"""What a wish asks for, and what it rules out: "a moisturiser, no perfume".

Encoders of sentences hardly see a negation: "no perfume" lies near perfumes. So what is ruled out
is told apart by its words, and read on its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WORD = r"[^\W\d_][\w'\u2019&-]*"
_CUE = (
    r"(?:(?<![\w-])(?:but|with|i|(?:that|which)(?:\s+(?:is|are|has|have))?)\s+){0,3}"
    r"(?<![\w-])(?:no|not|without|w/o|except(?:\s+for)?|exclud(?:e|ing)|avoid(?:ing)?|minus|never|"
    r"free\s+(?:of|from)|anything\s+but|other\s+than|nothing\s+(?:with|of|like)|"
    r"(?:do\s+not|don['\u2019]?t)\s+(?:want|like|need|include|show(?:\s+me)?)|i\s+hate|hate)"
    r"\s+(?:(?:any|an?|the|more|added|too|much|very|have|having|contain(?:s|ing)?|with|want|like|"
    r"kind\s+of|sort\s+of)\s+){0,4}"
)
_ENDS = (
    r"(?:and|or|nor|but|with|for|that|which|please|in|on|to|from|by|at|as|is|are|than|just|only|"
    r"except|without|no|not|i|it|so|because|instead)"
)
_PHRASE = rf"(?!{_ENDS}\b){_WORD}(?:\s+(?!{_ENDS}\b){_WORD}){{0,2}}"
_LAST = rf",?\s*(?:and|or|nor)\s+(?:any\s+)?{_PHRASE}(?=\s*(?:[,;.!?]|$|\b{_ENDS}\b))"
_EXCLUSION = re.compile(
    rf"(?P<cue>{_CUE})(?P<list>{_PHRASE}(?:(?:\s*,\s*{_PHRASE})*\s*{_LAST})?)", re.IGNORECASE
)
_BETWEEN = re.compile(r"\s*,\s*(?:(?:and|or|nor)\s+)?|\s+(?:and|or|nor)\s+", re.IGNORECASE)
_CLAIM = re.compile(  # of an item: what it is free of belongs to what is wanted, too
    r"(?<![\w-])(?:(?P<free>[^\W\d_][\w'\u2019]*)[\s-]free(?![\w-])(?!\s+(?:of|from)\b)|"
    r"non[\s-](?P<non>[^\W\d_]{3,}))",
    re.IGNORECASE,
)
_LEADING = re.compile(r"^(?:any|an?|the)\s+", re.IGNORECASE)
_LOOSE = re.compile(r"^(?:[\s,;.!?]|(?:and|but|or)\s)+|(?:[\s,;.!?]|\s(?:and|but|or))+$", re.I)
_ANYTHING = re.compile(r"(?:some|any)(?:thing)?(?:\s+else)?|please|i|items?|products?|", re.I)


class Wish(NamedTuple):
    """A wish, told apart.

    Attributes:
        wanted: what is asked for, in words; empty where the wish only rules out.
        excluded: phrases for what is ruled out.
    """

    wanted: str
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Wish:
        """Tell apart what a text asks for and what it rules out.

        >>> Wish.parse("a moisturizer for dry skin, no perfume")
        Wish(wanted='a moisturizer for dry skin', excluded=('perfume',))
        >>> Wish.parse("shampoo without sulfates and parabens for kids")
        Wish(wanted='shampoo for kids', excluded=('sulfates', 'parabens'))
        >>> Wish.parse("No perfume!"), Wish.parse("no. 7 cream")
        (Wish(wanted='', excluded=('perfume',)), Wish(wanted='no. 7 cream', excluded=()))
        >>> Wish.parse("oil-free sunscreen")
        Wish(wanted='oil-free sunscreen', excluded=('oil',))
        """
        text = " ".join(text.split())
        excluded: list[str] = []
        for found in _EXCLUSION.finditer(text):
            excluded += (_LEADING.sub("", part) for part in _BETWEEN.split(found["list"]))
        wanted = " ".join(_EXCLUSION.sub(" ", text).split())
        excluded += (found["free"] or found["non"] for found in _CLAIM.finditer(wanted))
        if excluded:
            wanted = _LOOSE.sub("", re.sub(r"\s+([,;.!?])", r"\1", wanted))
            wanted = "" if _ANYTHING.fullmatch(wanted) else wanted
        named = dict.fromkeys(phrase.strip(" .!?").casefold() for phrase in excluded if phrase)
        return cls(wanted if any(c.isalnum() for c in wanted) else "", tuple(named))


def without_claims(text: str) -> str:
    """A text without what it says it is free of.

    >>> without_claims("oil-free, non-greasy cream")
    ', cream'
    """
    return " ".join(_CLAIM.sub(" ", text).split())
