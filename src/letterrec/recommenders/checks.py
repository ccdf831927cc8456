"""What recommenders check in what they are given.

Knows the errors; leaves what is done with histories and identifiers to the recommenders.
"""

from __future__ import annotations

from letterrec.data.dataset import Histories
from letterrec.errors import DataError, IdentifierError
from letterrec.identifiers.identifiers import Identifiers


def check_sizes(identifiers: Identifiers, expected: tuple[int, ...]) -> None:
    """Refuse identifiers that a trained recommender has no codes for.

    Raises:
        IdentifierError: the levels have other sizes than those trained on.
    """
    if identifiers.sizes != expected:
        raise IdentifierError(
            f"identifiers with {identifiers.sizes} codes per level: expected {expected}, "
            "which the recommender was trained on; assign them with the same tokenizer"
        )


def check_trainable(histories: Histories) -> None:
    """Refuse sequences that say nothing of what follows what.

    Raises:
        DataError: no sequence has two items.
    """
    if histories.lengths.max(initial=0) < 2:
        raise DataError(
            f"none of the {len(histories)} training sequences has two items: expected at "
            "least one item and the next; give users with longer histories"
        )
