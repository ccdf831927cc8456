"""The space of a sweep: which values each setting may have, as users write it and Optuna asks it.

`default_spaces` has one for every recommender; here stands what a space is and how one is read.
"""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard

from optuna.trial import Trial

from letterrec.config.loading import load_settings, toml_value
from letterrec.config.settings import Settings
from letterrec.errors import SettingsError

Value = str | int | float | bool
_KEYS = {"low", "high", "step", "log"}
_SAME = ("data", "evaluation", "tracker")  # what is measured, and on what, is the same for all
_TUNABLE = ("data.max_history", "evaluation.beam")  # of these
_DRAWS = 64  # combinations in which a value may be found to fit


class Domain(Protocol):
    """The values that a setting may have."""

    def suggest(self, trial: Trial, key: str) -> Value:
        """The value that the sampler of a trial's study chooses."""

    def values(self) -> tuple[Value, ...]:
        """Those of a grid."""

    def draw(self, random_state: random.Random) -> Value:
        """Any of them."""

    def described(self) -> object:
        """The same as JSON has it; `domain_of` reads it back."""

    def __contains__(self, value: object) -> bool:
        """Whether the setting may have a value."""


@dataclass(frozen=True)
class Choice:
    """One of several values; a list of numbers, such as ``tokenizer.hidden``, is its text."""

    options: tuple[Value, ...]

    def suggest(self, trial: Trial, key: str) -> Value:
        """See `Domain`."""
        chosen = trial.suggest_categorical(key, self.options)
        assert chosen is not None  # none of the options is
        return chosen

    def values(self) -> tuple[Value, ...]:
        """See `Domain`: all of them."""
        return self.options

    def draw(self, random_state: random.Random) -> Value:
        """See `Domain`."""
        return random_state.choice(self.options)

    def described(self) -> object:
        """See `Domain`: a list."""
        return list(self.options)

    def __contains__(self, value: object) -> bool:
        return value in self.options


@dataclass(frozen=True)
class Range:
    """Numbers from one to another.

    Attributes:
        low: the smallest.
        high: the largest.
        step: between two of them; None: any number between (of whole numbers, all).
        log: as likely between 1 and 10 as between 10 and 100.
        whole: whole numbers alone.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Trial, key: str) -> Value:
        """See `Domain`."""
        if not self.whole:
            return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)
        low, high, step = int(self.low), int(self.high), int(self.step or 1)
        return trial.suggest_int(key, low, high, step=step, log=self.log)

    def values(self) -> tuple[Value, ...]:
        """See `Domain`: by the step; without one the smallest, the middle and the largest.

        >>> Range(0.1, 0.5, step=0.2).values(), Range(10.0, 1000.0, log=True).values()
        ((0.1, 0.3, 0.5), (10.0, 100.0, 1000.0))
        """
        if self.step is not None:
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            found = [self.low + i * self.step for i in range(count)]
        else:
            is_log = self.log and self.low > 0
            middle = math.sqrt(self.low * self.high) if is_log else (self.low + self.high) / 2
            found = [self.low, middle, self.high]
        if self.whole:
            return tuple(dict.fromkeys(round(value) for value in found))
        return tuple(dict.fromkeys(float(f"{value:.10g}") for value in found))

    def draw(self, random_state: random.Random) -> Value:
        """See `Domain`."""
        if self.step is not None:
            return random_state.choice(self.values())
        value = random_state.uniform(self.low, self.high)
        return round(value) if self.whole else value

    def described(self) -> object:
        """See `Domain`: a table without what is not set."""
        table = {"low": self.low, "high": self.high, "step": self.step, "log": self.log or None}
        if self.whole:
            table |= {key: int(table[key] or 0) for key in ("low", "high")}
        return {key: value for key, value in table.items() if value is not None}

    def __contains__(self, value: object) -> bool:
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9


Space = Mapping[str, Domain]


def space_of(over: Sequence[str], file: Path | None, base: Settings) -> dict[str, Domain]:
    """The space that a user has written.

    Args:
        over: ``section.key=`` and values with commas, a range ``LOW..HIGH``, ``LOW..HIGH:log`` or
            ``LOW..HIGH:STEP``, or a list or a table as TOML has it. They win over the file.
        file: TOML with a list of values, or a table of ``low``, ``high``, ``step``, ``log``, for
            each setting.
        base: settings that tell whether a number is a whole one.

    Raises:
        SettingsError: a domain is of none of these forms, or the file cannot be read.

    >>> found = space_of(["recommender.dim=64,128", "training.learning_rate=1e-3..1e-2:log"], None,
    ...                  load_settings())
    >>> found["recommender.dim"]
    Choice(options=(64, 128))
    >>> found["training.learning_rate"]
    Range(low=0.001, high=0.01, step=None, log=True, whole=False)
    """
    written = {} if file is None else dict(_leaves(_read(file)))
    for text in over:
        key, _, spec = (part.strip() for part in text.partition("="))
        if not key or not spec:
            raise SettingsError(
                f"--over {text!r}: expected section.key=VALUE,VALUE or section.key=LOW..HIGH, as "
                "in tokenizer.alpha=0,0.02,0.1 or training.learning_rate=1e-3..1e-2:log"
            )
        written[key] = _parsed(key, spec)
    return {key: domain_of(key, value, base) for key, value in written.items()}


def domain_of(key: str, value: object, base: Settings) -> Domain:
    """The domain of a setting as TOML or JSON has it.

    Raises:
        SettingsError: it is neither a list of values nor a table with ``low`` and ``high``.
    """
    if isinstance(value, list) and value:
        options = [option for option in map(as_value, value) if option is not None]
        if len(options) == len(value):
            return Choice(tuple(dict.fromkeys(options)))
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= _KEYS:
        raise SettingsError(
            f"space of {key}: {value!r}: expected a list of values, or a table of low and high, "
            "with step or log = true if wanted"
        )
    low, high, step, log = (value.get(name) for name in ("low", "high", "step", "log"))
    if not (_is_number(low) and _is_number(high) and low <= high):
        raise SettingsError(f"space of {key}: low = {low!r}, high = {high!r}: expected low <= high")
    if step is not None and (not _is_number(step) or step <= 0 or log):
        raise SettingsError(f"space of {key}: step = {step!r}: expected a number above 0, or log")
    if log and low <= 0:
        raise SettingsError(f"space of {key}: log = true goes with low above 0, not {low!r}")
    numbers = [low, high] if step is None else [low, high, step]
    whole = all(isinstance(n, int) for n in numbers)
    whole = whole and not isinstance(value_of(base, key), float)
    if step is not None:  # the last step need not end at high
        high = low + math.floor((high - low) / step + 1e-9) * step
        high = high if whole else float(f"{high:.10g}")
    return Range(low, high, step, bool(log), whole)


def check_space(space: Space, recipe: str | None, overrides: Sequence[str], base: Settings) -> None:
    """Refuse settings that do not exist, values that cannot be, and what is the same for all.

    Values that fit only beside others of the space (``tokenizer.dim`` and ``collaborative.dim``)
    are in order.

    Raises:
        SettingsError: in one line.
    """
    random_state = random.Random(0)
    for key, domain in space.items():
        if key.partition(".")[0] in _SAME and key not in _TUNABLE:
            raise SettingsError(
                f"{key} decides what is measured and must be the same for all; give it as --set"
            )
        for value in domain.values():
            error = _error(recipe, [*overrides, override(key, value)])
            for _ in range(_DRAWS if error is not None and len(space) > 1 else 0):
                others = {k: d.draw(random_state) for k, d in space.items()} | {key: value}
                if _error(recipe, [*overrides, *as_overrides(others)]) is None:
                    error = None
                    break
            if error is not None:
                raise error


def _error(recipe: str | None, overrides: Sequence[str]) -> SettingsError | None:
    try:
        load_settings(recipe, overrides)
    except SettingsError as error:
        return error
    return None


def override(key: str, value: Value) -> str:
    """A value of a setting as ``--set`` takes it.

    >>> override("transitions.enabled", False), override("tokenizer.beta", 1e-05)
    ('transitions.enabled=false', 'tokenizer.beta=1e-05')
    """
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={value:.10g}" if isinstance(value, float) else f"{key}={value}"


def as_overrides(chosen: Mapping[str, Value]) -> list[str]:
    """Values of settings as ``--set`` takes them; those that choose a kind come first."""
    keys = sorted(chosen, key=lambda key: not key.endswith(".name"))
    return [override(key, chosen[key]) for key in keys]


def brief(value: object) -> str:
    """A value as people read it.

    >>> brief(0.00123456), brief(64), brief("softmax")
    ('0.00123', '64', 'softmax')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def value_of(settings: Settings, key: str) -> object:
    """The value of a setting, an unset one as what it usually means; None where there is none."""
    value: object = settings.plain()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def differing(base: Settings, chosen: Mapping[str, Value]) -> dict[str, Value]:
    """What of some values differs from settings; what is unset there, and given its usual value,
    does not.

    >>> differing(load_settings(), {"tokenizer.levels": 4, "recommender.dim": 64})
    {'recommender.dim': 64}
    """
    found = ((key, chosen[key]) for key in sorted(chosen))
    return {key: value for key, value in found if value != as_value(value_of(base, key))}


def _parsed(key: str, text: str) -> object:
    """A domain of the command line as TOML has it."""
    if text.startswith(("[", "{")):
        return _toml(text, f"--over {key}={text}")
    numbers, _, more = text.partition(":")
    low, dots, high = numbers.partition("..")
    if not dots:
        return [_word(word) for word in text.split(",") if word.strip()]
    table = {"low": _word(low), "high": _word(high)}
    if not more:
        return table
    return table | ({"log": True} if more.strip() == "log" else {"step": _word(more)})


def _word(text: str) -> object:
    """A word of the command line: a number, true, false, or the text that it is."""
    try:
        return toml_value(text)
    except ValueError:
        return text.strip()


def as_value(option: object) -> Value | None:
    """A value of a setting as a choice has it, a list as the text that TOML has for it; None where
    it can be none.

    >>> as_value(0.5), as_value((512, 256)), as_value({})
    (0.5, '[512, 256]', None)
    """
    if isinstance(option, str | int | float | bool):
        return option
    if isinstance(option, list | tuple):
        return f"[{', '.join(str(as_value(part)) for part in option)}]"
    return None


def _toml(text: str, where: str) -> object:
    try:
        return toml_value(text)
    except ValueError as error:
        raise SettingsError(f"{where}: not valid TOML: {error}") from None


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--space {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"--space {file}: not valid TOML: {error}") from None


def _leaves(table: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """``section.key`` and what stands for it; a table of ``low`` and ``high`` is a range."""
    for key, value in table.items():
        if isinstance(value, dict) and not value.keys() & _KEYS:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
