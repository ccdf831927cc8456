"""The Python call: `letterrec.load(RUN).recommend(...)`."""

from __future__ import annotations

from pathlib import Path

import pytest

import letterrec
from letterrec.errors import RequestError
from ranking import assert_same_ranking


@pytest.fixture(scope="module")
def engine(shop_run: Path) -> letterrec.Engine:
    return letterrec.load(shop_run)


def test_lists_are_sorted_unseen_and_complete(engine: letterrec.Engine) -> None:
    histories = [engine.history_of("u1"), ["i05"], ["i03", "i04", "i05"] * 10]
    answers = engine.recommend(histories, k=7)
    for history, answer in zip(histories, answers, strict=True):
        items = [item for item, _ in answer]
        scores = [score for _, score in answer]
        assert len(set(items)) == 7
        assert not set(items) & set(history)
        assert scores == sorted(scores, reverse=True)
        assert all(score <= 0 for score in scores)


def test_the_shop_rule_is_learned(engine: letterrec.Engine) -> None:
    answers = engine.recommend([[f"i{i:02d}"] for i in range(59)], k=3)
    hits = [f"i{i + 1:02d}" in [item for item, _ in a] for i, a in enumerate(answers)]
    assert sum(hits) > 40


def test_seen_items_return_when_asked_for(engine: letterrec.Engine) -> None:
    (everything,) = engine.recommend([["i05", "i06"]], k=60, exclude_seen=False)
    assert len(everything) == 60
    (unseen,) = engine.recommend([["i05", "i06"]], k=60)
    assert len(unseen) == 58


def test_allowed_is_honoured_inside_the_search(engine: letterrec.Engine) -> None:
    allowed = {"i50", "i51", "i52", "i05"}
    (answer,) = engine.recommend([["i05"]], k=10, allowed=allowed)
    assert {item for item, _ in answer} == {"i50", "i51", "i52"}


def test_one_at_a_time_equals_a_batch(engine: letterrec.Engine) -> None:
    histories = [["i05"], ["i01", "i02", "i03"], ["i40", "i41"] * 9, []]
    batch = engine.recommend(histories, k=5)
    for history, answer in zip(histories, batch, strict=True):
        (single,) = engine.recommend([history], k=5)
        assert_same_ranking(single, answer)


def test_an_empty_history_gets_popular_items(engine: letterrec.Engine) -> None:
    (answer,) = engine.recommend([[]], k=3, allowed=["i01", "i02"])
    assert {item for item, _ in answer} == {"i01", "i02"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"histories": ["i01"]}, "list of lists"),
        ({"histories": "i01"}, "list of lists"),
        ({"histories": [["nope"]]}, "'nope'"),
        ({"histories": [["i01"]], "k": 0}, "k = 0"),
        ({"histories": [["i01"]], "k": 2.5}, "k = 2.5"),
        ({"histories": [["i01"]], "beam": -1}, "beam = -1"),
        ({"histories": [["i01"]], "allowed": "i01"}, "allowed"),
        ({"histories": [["i01"]], "allowed": ["i99"]}, "'i99'"),
    ],
)
def test_wrong_requests_are_explained(
    engine: letterrec.Engine, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        engine.recommend(**arguments)  # type: ignore[arg-type]


def test_an_unknown_user_is_explained(engine: letterrec.Engine) -> None:
    with pytest.raises(RequestError, match="'nobody'"):
        engine.history_of("nobody")
