"""What the run recommends to a few users, beside what they turned to next."""

from __future__ import annotations

from letterrec.embeddings.projection import sample
from letterrec.evaluation.cases import measured_cases
from letterrec.progress import visible
from letterrec.reports.markup import label, note, safe
from letterrec.serving.engine import Engine

_USERS = 5
_LATEST = 5  # items of a history that are named
_SHOWN = 5  # recommendations
_COLUMNS = ("User", "Saw last", "Recommended", "Turned to next")
_LONG = 90  # characters of a title


def example_parts(engine: Engine, users: int | None) -> list[str]:
    """Recommendations for five users of the test split, from their histories before it.

    Args:
        engine: recommends.
        users: size of the sample that was evaluated; None: all.
    """
    dataset = engine.dataset
    cases = measured_cases(dataset, "test", users)
    cases = cases.take(sample(len(cases), _USERS))
    if not len(cases):
        return [note("No user has an interaction held out.")]
    ids = dataset.item_ids
    histories = [[ids[i] for i in cases.histories[row]] for row in range(len(cases))]
    behaviours = None
    if dataset.behaviours and cases.histories.behaviours is not None:
        offsets, kinds = cases.histories.offsets, cases.histories.behaviours
        behaviours = [
            [dataset.behaviours[b] for b in kinds[offsets[row] : offsets[row + 1]]]
            for row in range(len(cases))
        ]
    answers = engine.recommend(histories, k=_SHOWN, exclude_seen=False, behaviours=behaviours)
    rows = []
    for case, (history, answer) in enumerate(zip(histories, answers, strict=True)):
        target = ids[cases.targets[case]]
        latest = [_title(engine, item) for item in reversed(history[-_LATEST:])]
        items = "".join(
            f"<li{' class=hit' if item == target else ''}>{_title(engine, item)}</li>"
            for item, _ in answer
        )
        user = safe(dataset.user_ids[cases.users[case]])
        more = f"<li>and {len(history) - _LATEST:,} earlier</li>" if len(history) > _LATEST else ""
        past = "".join(f"<li>{title}</li>" for title in latest)
        shown = (f"<ul>{past}{more}</ul>", f"<ol>{items}</ol>", _title(engine, target))
        cells = "".join(
            f'<td data-name="{name}">{cell}</td>'
            for name, cell in zip(_COLUMNS[1:], shown, strict=True)
        )
        rows.append(f'<tr><th scope="row" data-name="{_COLUMNS[0]}">{user}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    words = (
        "Five users of the test split, evenly spread; as the metrics count, seen items compete. "
        "What was recommended and came next stands out."
    )
    return [f'<div class="wide"><table class="users">{body}</table></div>', note(words)]


def _title(engine: Engine, item: str) -> str:
    return label(visible(engine.dataset.titles[engine.dataset.item_rows[item]]), _LONG)
