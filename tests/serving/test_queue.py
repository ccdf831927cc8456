"""The queue: bounded, in batches, with deadlines; nobody's answer is lost or swapped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import letterrec
from letterrec.errors import Overloaded, RequestError
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Answered, Prepared, Query
from letterrec.serving.queue import Batcher
from ranking import assert_same_ranking


class HeldEngine:
    """A run's engine that answers only when it is let."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.begun, self.let = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def prepare(self, query: Query) -> Prepared:
        return self.engine.prepare(query)

    def answered(self, queries: Sequence[Prepared]) -> list[Answered]:
        self.begun.set()
        self.let.wait(60)
        self.batches.append(len(queries))
        return self.engine.answered(queries)


@pytest.fixture
def held(shop_run: Path) -> HeldEngine:
    return HeldEngine(letterrec.load(shop_run))


@contextmanager
def batching(**options: int) -> Iterator[Batcher]:
    batcher = Batcher(**{"capacity": 8, "max_batch": 4, **options})
    try:
        yield batcher
    finally:
        batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def ask(held: Any, batcher: Batcher, item: str, seconds: float = 30.0) -> Any:
    query = held.prepare(Query([item], k=3))
    return batcher.answer(held, [query], time.monotonic() + seconds)


def test_what_arrives_during_a_search_is_answered_by_the_next_together(held: HeldEngine) -> None:
    async def main() -> list[Any]:
        with batching() as batcher:
            first = asyncio.create_task(ask(held, batcher, "i00"))
            await until(held.begun.is_set)
            rest = [asyncio.create_task(ask(held, batcher, f"i{i:02d}")) for i in range(1, 7)]
            await until(lambda: batcher.waiting == 6)
            held.let.set()
            return await asyncio.gather(first, *rest)

    answers = asyncio.run(main())
    assert held.batches == [1, 4, 2]
    for i, (answer,) in enumerate(answers):
        (alone,) = held.engine.answer([held.prepare(Query([f"i{i:02d}"], k=3))])
        assert_same_ranking(answer.items, alone)


def test_a_full_queue_refuses_at_once(held: HeldEngine) -> None:
    async def main() -> None:
        with batching(capacity=2) as batcher:
            tasks = [asyncio.create_task(ask(held, batcher, "i00"))]
            await until(held.begun.is_set)
            tasks += [asyncio.create_task(ask(held, batcher, "i01")) for _ in range(2)]
            await until(lambda: batcher.waiting == 2)
            with pytest.raises(Overloaded, match="2 queries are waiting already, 2 may"):
                await ask(held, batcher, "i02")
            held.let.set()
            await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_request_is_given_up_at_its_deadline_and_costs_no_search(held: HeldEngine) -> None:
    async def main() -> None:
        with batching() as batcher:
            first = asyncio.create_task(ask(held, batcher, "i00"))
            await until(held.begun.is_set)
            with pytest.raises(Overloaded, match="deadline passed"):
                await ask(held, batcher, "i01", seconds=0.1)
            held.let.set()
            await first

    asyncio.run(main())
    assert held.batches == [1]


def test_what_waits_is_answered_before_the_queue_closes(held: HeldEngine) -> None:
    async def main() -> list[Any]:
        batcher = Batcher(capacity=8, max_batch=4)
        tasks = [asyncio.create_task(ask(held, batcher, "i00")) for _ in range(6)]
        await until(held.begun.is_set)
        held.let.set()
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Overloaded, match="shutting down"):
            await ask(held, batcher, "i00")
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(main())) == 6


def test_a_failing_search_is_told_to_its_requests_alone(shop_run: Path) -> None:
    class Failing(HeldEngine):
        def answered(self, queries: Sequence[Prepared]) -> list[Answered]:
            raise RequestError("broken")

    engine = letterrec.load(shop_run)

    async def main() -> Any:
        with batching() as batcher:
            with pytest.raises(RequestError, match="broken"):
                await ask(Failing(engine), batcher, "i00")
            return await ask(engine, batcher, "i00")

    assert len(asyncio.run(main())[0].items) == 3


def test_an_overloaded_server_answers_200_or_503(serve: Callable[..., Any], own_run: Path) -> None:
    with (
        serve(own_run, queue=4, max_batch=2, deadline=5.0) as served,
        served.client(limits=httpx.Limits(max_connections=64)) as client,
    ):

        def ask_once(i: int) -> httpx.Response:
            return client.post("/v1/recommend", json={"history": [f"i{i % 60:02d}"], "k": 60})

        with ThreadPoolExecutor(48) as pool:
            answers = list(pool.map(ask_once, range(400)))
        statuses = {a.status_code for a in answers}
        assert statuses == {200, 503}
        refused = next(a for a in answers if a.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert "waiting already" in refused.json()["detail"]
        assert client.post("/v1/recommend", json={"history": ["i01"]}).status_code == 200
