"""The paired bootstrap against the textbook, and on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.evaluation.significance import paired_bootstrap


def test_the_interval_is_the_textbooks_for_many_users() -> None:
    random = np.random.default_rng(0)
    theirs = random.random((1, 5000)).round(2)
    ours = theirs + random.normal(0.01, 0.2, (1, 5000)).round(2)
    found = paired_bootstrap(ours, theirs, seed=1)
    differences = (ours - theirs)[0]
    error = 1.96 * differences.std() / np.sqrt(5000)
    assert found.mean == pytest.approx(differences.mean())
    assert found.low == pytest.approx(differences.mean() - error, abs=error / 10)
    assert found.high == pytest.approx(differences.mean() + error, abs=error / 10)
    assert found.users == 5000


def test_pairing_sees_what_users_have_in_common() -> None:
    random = np.random.default_rng(0)
    theirs = random.random((1, 400))
    found = paired_bootstrap(theirs + 0.01, theirs)
    assert found.low == pytest.approx(0.01)
    assert found.p < 0.001
    unrelated = paired_bootstrap(random.permutation(theirs[0])[None] + 0.01, theirs)
    assert unrelated.low < 0 < unrelated.high
    assert unrelated.p > 0.05


def test_seeds_are_averaged_per_user() -> None:
    ours = np.array([[1.0, 0.0], [0.0, 0.0]])
    theirs = np.array([[0.0, 0.0]])
    found = paired_bootstrap(ours, theirs)
    assert found.mean == 0.25
    assert (found.low, found.high) == (0.0, 0.5)


def test_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="3 users on one side, 2 on the other"):
        paired_bootstrap(np.zeros((1, 3)), np.zeros((1, 2)))
