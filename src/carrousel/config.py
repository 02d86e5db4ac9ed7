"""Settings as typed dataclasses, and the one way between them and JSON: a task declares its fields, nothing else."""

from __future__ import annotations

import dataclasses
import math
import numbers
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from carrousel.errors import CarrouselError, ConfigError, SettingError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The interval that a number must lie in: ``Annotated[int, Range(1)]``, ``Annotated[float, Range(above=0)]``."""

    minimum: float | None = None
    maximum: float | None = None
    _: dataclasses.KW_ONLY
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        words = (
            ("of at least", self.minimum),
            ("of at most", self.maximum),
            ("above", self.above),
            ("below", self.below),
        )
        return " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)


def from_dict(
    cls: type[T], mapping: object, *, where: str = "config.json", error: type[CarrouselError] = ConfigError
) -> T:
    """Build a dataclass from JSON data; every key is validated and unknown ones are refused.

    Annotations may be int, float, bool, str, object (any JSON), ``X | None``, Literal, ``tuple[T, ...]``,
    ``tuple[A, B]``, ``dict[str, T]``, another dataclass, and ``Annotated[T, Range(...)]`` of a number. Fields without a
    default are required. Rules across fields belong in the dataclass's own ``__post_init__``.

    Parameters
    ----------
    cls : a dataclass
    mapping : what ``json.load`` gave
    where : how the place is called in error messages, ``config.json: settings``
    error : class of the error to raise

    Raises
    ------
    ConfigError : (or `error`) a key that is unknown, missing, or whose value does not fit
    """
    return _Reader(where, error).build(cls, mapping, "")


def to_dict(instance: Any) -> dict[str, Any]:
    """The JSON data that ``from_dict`` builds an equal instance from; tuples become lists."""
    return {field.name: _plain(getattr(instance, field.name)) for field in dataclasses.fields(instance)}


def check(instance: Any, *, where: str = "", error: type[CarrouselError] = SettingError) -> None:
    """Hold an instance that was built by keyword to the rules of ``from_dict``; for use in ``__post_init__``.

    Values of a kindred type become the declared one: lists become tuples, NumPy scalars and integers become Python
    numbers, so that equal settings compare and serialise alike.

    Raises
    ------
    SettingError : (or `error`) a value that does not fit its field
    """
    reader = _Reader(where, error)
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = reader.value(hints[field.name], getattr(instance, field.name), field.name)
        object.__setattr__(instance, field.name, value)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class _Reader:
    """Turns values into what an annotation declares; `path` says where in the data a value stands."""

    where: str
    error: type[CarrouselError]

    def fail(self, path: str, problem: str) -> typing.NoReturn:
        raise self.error(": ".join(part for part in (self.where, path, problem) if part))

    def build(self, cls: type[T], value: Any, path: str) -> T:
        fields = {field.name: field for field in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
        if isinstance(value, cls):
            value = {name: getattr(value, name) for name in fields}
        if not isinstance(value, Mapping):
            self.refuse(cls, value, path)
        hints = _hints(cls)
        for key in value:
            if key not in fields:
                self.fail(path, f"unknown key {key!r}; {nearest(str(key), fields)}")
        for name, field in fields.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in value:
                self.fail(path, f"missing key {name!r}, {_words(hints[name])}")
        items = {key: self.value(hints[key], item, f"{path}.{key}" if path else key) for key, item in value.items()}
        try:
            return cls(**items)
        except (SettingError, ValueError) as problem:
            raise self.error(": ".join(part for part in (self.where, path, str(problem)) if part)) from problem

    def value(self, kind: Any, value: Any, path: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind is object or kind is Any:
            return value
        if origin is typing.Annotated:
            result = self.value(arguments[0], value, path)
            if not all(bound.holds(result) for bound in arguments[1:] if isinstance(bound, Range)):
                self.refuse(kind, value, path)
            return result
        if origin in (typing.Union, types.UnionType):
            return self.member(kind, value, path)
        if origin is Literal:
            # True == 1 in Python, but not in JSON.
            if not any(value == choice and type(value) is type(choice) for choice in arguments):
                self.refuse(kind, value, path)
            return value
        if origin is tuple:
            return self.sequence(kind, value, path)
        if origin is dict:
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                self.refuse(kind, value, path)
            return {key: self.value(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
        if dataclasses.is_dataclass(kind):
            return self.build(typing.cast(type, kind), value, path)
        return self.scalar(kind, value, path)

    def member(self, kind: Any, value: Any, path: str) -> Any:
        members = [member for member in typing.get_args(kind) if member is not types.NoneType]
        if value is None and types.NoneType in typing.get_args(kind):
            return None
        if len(members) == 1 and (dataclasses.is_dataclass(members[0]) or isinstance(value, (Mapping, list, tuple))):
            return self.value(members[0], value, path)  # its own message is more precise than "expected X or null"
        for member in members:
            try:
                return self.value(member, value, path)
            except self.error:
                continue
        self.refuse(kind, value, path)

    def sequence(self, kind: Any, value: Any, path: str) -> tuple[Any, ...]:
        arguments = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            self.refuse(kind, value, path)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        elif len(arguments) != len(value):
            self.refuse(kind, value, path)
        return tuple(
            self.value(item_kind, item, f"{path}[{k}]")
            for k, (item_kind, item) in enumerate(zip(arguments, value, strict=True))
        )

    def scalar(self, kind: Any, value: Any, path: str) -> Any:
        is_bool = isinstance(value, bool)
        if kind is int and isinstance(value, numbers.Integral) and not is_bool:
            return int(value)
        if kind is float and isinstance(value, numbers.Real) and not is_bool and _finite(value):
            return float(value)
        if (kind is bool and is_bool) or (kind is str and isinstance(value, str)):
            return value
        self.refuse(kind, value, path)

    def refuse(self, kind: Any, value: Any, path: str) -> typing.NoReturn:
        self.fail(path, f"expected {_words(kind)}, got {reprlib.repr(value)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the known one nearest to it, or all of them, twenty at most."""
    import difflib  # needed after a mistake only

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names[:20]) or 'none'}{more}"


def _finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _words(kind: Any) -> str:
    """What an annotation admits, in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return f"{_words(arguments[0])} {' '.join(str(bound) for bound in arguments[1:])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(member) for member in arguments)
    if origin is Literal:
        return f"one of {', '.join(repr(choice) for choice in arguments)}"
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each item {_words(arguments[0])}"
        return f"a list of {len(arguments)}: {', '.join(_words(item) for item in arguments)}"
    simple = {int: "an integer", float: "a number", bool: "true or false", str: "a string", types.NoneType: "null"}
    return simple.get(kind, "an object")
