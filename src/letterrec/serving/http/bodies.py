"""Request bodies as strict JSON: what two parsers could read differently is refused.

Python's own parser accepts NaN, numbers beyond the range of floats, duplicate keys (the last wins)
and any Unicode encoding.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from letterrec.errors import quoted, short

_DIGITS = 640  # of a whole number; Python reads as many whatever limit it is given
_SMALL = 16_384  # bytes; larger bodies are parsed on a thread


def parse(body: bytes) -> object:
    """Parse a body.

    Raises:
        ValueError: it is not strict JSON; the message is one line.

    >>> parse(b'{"k": 3}')
    {'k': 3}
    >>> parse(b'{"k": 3, "k": 4}')
    Traceback (most recent call last):
    ValueError: the key 'k' comes twice in one object
    """
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg.lower()} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("its nesting is too deep") from None


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number has {len(digits)} digits; at most {_DIGITS} are read")
    return int(digits)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {quoted(key, 40)} comes twice in one object")
            seen.add(key)
    return table


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {short(text, 40)} is too large")
    return number


class _StrictRequest(Request):
    """A request whose body is parsed as strict JSON and validated by a model.

    Args:
        request: the original one.
        model: of the body; None if the route takes no body.
    """

    def __init__(self, request: Request, model: type[BaseModel] | None) -> None:
        super().__init__(request.scope, request.receive)
        self._model = model

    async def json(self) -> object:
        body = await self.body()
        try:
            if self._model is None or len(body) <= _SMALL:
                return parse(body)
            return await asyncio.to_thread(_parsed_as, self._model, body)
        except ValidationError as error:
            why = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
            raise RequestValidationError(why) from None
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}"[:200]) from None


def _parsed_as(model: type[BaseModel], body: bytes) -> BaseModel:
    return model.model_validate(parse(body))


class StrictRoute(APIRoute):
    """A route whose body is strict JSON.

    Large bodies are read and checked on a thread: a megabyte of ids takes a good part of a second,
    in which all other requests would wait.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, called with a `_StrictRequest`."""
        handle = super().get_route_handler()
        body = None if self.body_field is None else self.body_field.field_info.annotation
        model = body if isinstance(body, type) and issubclass(body, BaseModel) else None

        async def strict(request: Request) -> Response:
            try:
                return await handle(_StrictRequest(request, model))
            except HTTPException as error:
                if isinstance(error.__cause__, RequestValidationError):  # FastAPI's 400 for it
                    raise error.__cause__ from None
                raise

        return strict
