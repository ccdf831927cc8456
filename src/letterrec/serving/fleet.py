"""The runs that one server serves, by name, and which of them answers whom."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.registry import Collector

from letterrec.errors import Conflict, LetterRecError, NotFound, RequestError, quoted
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.states import STATES
from letterrec.serving.engine import Engine
from letterrec.serving.service import Service
from letterrec.serving.switches import Switch, Switches
from letterrec.serving.telemetry import Gauges, gauges_of

DEFAULT = "default"  # the name of a run that was given none


class Version(NamedTuple):
    """What answered a request: the model's name, the run's id, the catalogue's generation."""

    model: str
    run: str
    generation: int


class Standing(NamedTuple):
    """A model as it stands at one moment, whatever is edited or switched after it."""

    engine: Engine
    catalogue: Catalogue
    version: Version


def standing(service: Service, engine: Engine | None = None) -> Standing:
    """A model as it stands now; with the engine that a request began with, if that is given."""
    engine = engine or service.engine
    catalogue = engine.catalogue
    version = Version(service.name, engine.run_id, catalogue.generation)
    return Standing(engine, catalogue, version)


class Fleet:
    """Several runs in service.

    Args:
        services: by name, in order; the first one answers where nothing else is said.
        weights: shares of the requests that name no model, by name; empty gives all to the first.
        switches: tells other processes of reloads; None where there are none.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        weights: Mapping[str, float] | None = None,
        switches: Switches | None = None,
    ) -> None:
        self._services = dict(services)
        self.default = next(iter(self._services.values()))
        self.metrics = self.default.metrics
        self._weights = {name: weight for name, weight in (weights or {}).items() if weight > 0}
        self._switches = switches
        self._switching = asyncio.Lock()
        self.metrics.show(_Shown(self))

    @classmethod
    def of(cls, service: Service) -> Fleet:
        """One run."""
        return cls({service.name: service})

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def __len__(self) -> int:
        return len(self._services)

    @property
    def only(self) -> Service | None:
        """The model that answers whatever is asked; None where there are several."""
        return self.default if len(self) == 1 else None

    def share(self, name: str) -> float:
        """Of the requests that name no model, the share that a model gets."""
        if not self._weights:
            return float(name == self.default.name)
        return self._weights.get(name, 0.0) / sum(self._weights.values())

    def named(self, name: str | None) -> Service:
        """The model of a name; the first one for None.

        Raises:
            NotFound: there is none.
        """
        if name is None:
            return self.default
        service = self._services.get(name)
        if service is None:
            there = ", ".join(map(repr, self._services))
            raise NotFound(f"model {quoted(name)} is not served; there is {there}")
        return service

    def changed(self, name: str | None) -> Service:
        """The model that a request is to change.

        Raises:
            RequestError: there are several, and it says not which.
        """
        if name is None and len(self) > 1:
            there = ", ".join(map(repr, self._services))
            raise RequestError(f"several models are served ({there}); say which: ?model=NAME")
        return self.named(name)

    def chosen(self, name: str | None, key: str | None) -> Service:
        """The model that answers a question.

        Args:
            name: that the request gives.
            key: what stays with one model, such as a user; None draws one anew.
        """
        if name is not None or not self._weights:
            return self.named(name)
        place = random.random() if key is None else place_of(key)
        for model in self._weights:
            place -= self.share(model)
            if place < 0:
                return self._services[model]
        return self._services[next(reversed(self._weights))]  # rounding

    async def reload(self, name: str | None) -> Service:
        """Open a run again, or all of them, here and in the other processes; see `Service.reload`.

        Raises:
            LetterRecError: why a run cannot be served; the others have been reloaded.
        """
        services = list(self) if name is None else [self.named(name)]
        await self._switch(services, "reload")
        return services[0]

    async def rollback(self, name: str | None) -> Service:
        """Go back to the version before, here and in the other processes; see `Service.rollback`.

        Raises:
            Conflict: there was none before.
        """
        service = self.changed(name)
        await self._switch([service], "rollback")
        return service

    async def _switch(self, services: list[Service], switch: Switch) -> None:
        refused: LetterRecError | None = None
        async with self._switching:
            with nullcontext() if self._switches is None else self._switches.turn():
                for service in services:
                    try:
                        await self._make(service.name, switch, follows=False)
                        await self._tell(service.name, switch)
                    except LetterRecError as error:
                        refused = refused or error
        if refused is not None:
            raise refused

    async def _tell(self, name: str, switch: Switch) -> None:
        late = 0 if self._switches is None else await self._switches.tell(name, switch)
        if late:
            raise Conflict(
                f"{late} of the server's processes did not follow; their log says why: put it "
                "right and reload"
            )

    async def _make(self, name: str, switch: Switch, *, follows: bool) -> Engine:
        service = self.named(name)
        make = service.reload if switch == "reload" else service.rollback
        return await make(follows=follows)

    async def _follow(self, name: str, switch: Switch) -> Engine:
        return await self._make(name, switch, follows=True)

    async def watch(self) -> None:
        """Follow edits and switches of other processes, until cancelled."""
        watching = [service.watch() for service in self]
        if self._switches is not None:
            watching.append(self._switches.follow(self._follow))
        await asyncio.gather(*watching)

    async def catch_up(self) -> None:
        """Do what other processes have switched since this server was started."""
        if self._switches is not None:
            await self._switches.catch_up(self._follow)

    async def close(self) -> None:
        """Finish what was begun and stop."""
        for service in self:
            await asyncio.to_thread(service.close)


class _Shown(Collector):
    """The gauges of a fleet, looked up when they are asked for."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """One family each."""
        return gauges_of([self._of(service) for service in self._fleet])

    def _of(self, service: Service) -> Gauges:
        engine = service.engine
        catalogue = engine.catalogue
        return Gauges(
            service.name,
            engine.run_id,
            catalogue.generation,
            {state: catalogue.count(state) for state in STATES},
            service.batcher.waiting,
            self._fleet.share(service.name),
        )


def place_of(key: str) -> float:
    """Where a key lies between 0 and 1: the same on every server and after every restart.

    >>> round(place_of("user-1"), 3) == round(place_of("user-1"), 3) != place_of("user-2")
    True
    """
    digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
