"""Typed settings and JSON: what fits goes both ways unchanged, what does not is named with its place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.config import Range, check, from_dict, to_dict
from carrousel.errors import ConfigError, SettingError


@dataclass(frozen=True, kw_only=True)
class Part:
    size: Annotated[int, Range(1)]
    rate: Annotated[float, Range(0, below=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    part: Part
    season: int | None = None
    levels: tuple[Annotated[float, Range(above=0)], ...] = (50.0, 90.0)
    pair: tuple[int, str] = (0, "")
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kind: Literal["a", "b", 1] = "a"
    exact: bool = False
    either: int | str = 0
    other: Part | None = None
    anything: object = None

    def __post_init__(self) -> None:
        check(self)
        if self.season == 13:
            raise SettingError("season: expected another number than 13, got 13")


LEAST = {"name": "x", "part": {"size": 1}}

wholes = st.builds(
    Whole,
    name=st.text(),
    part=st.builds(Part, size=st.integers(1), rate=st.floats(0, 0.99)),
    season=st.none() | st.integers(14),
    levels=st.lists(st.floats(1e-9, 1e9)).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    columns=st.dictionaries(st.text(), st.lists(st.text()).map(tuple)),
    kind=st.sampled_from(["a", "b", 1]),
    exact=st.booleans(),
    either=st.integers() | st.text(),
    other=st.none() | st.builds(Part, size=st.integers(1)),
)


@given(wholes)
@settings(max_examples=40, deadline=None)
def test_settings_survive_json(whole):
    assert from_dict(Whole, json.loads(json.dumps(to_dict(whole)))) == whole


def test_defaults_need_not_be_given():
    assert from_dict(Whole, LEAST) == Whole(name="x", part=Part(size=1))


def test_kindred_types_become_the_declared_one():
    whole = Whole(name="x", part=Part(size=np.int64(3), rate=0), levels=[1, np.float32(2)], season=np.int32(4))
    assert whole == Whole(name="x", part=Part(size=3), levels=(1.0, 2.0), season=4)
    assert [type(value) for value in (whole.part.size, whole.part.rate, *whole.levels)] == [int, float, float, float]


REFUSED = {
    "no object": ([1], "expected an object, got [1]"),
    "missing": ({"part": {"size": 1}}, "missing key 'name', a string"),
    "missing inside": ({"name": "x", "part": {}}, "part: missing key 'size', an integer of at least 1"),
    "unknown": ({**LEAST, "seasn": 1}, "unknown key 'seasn'; did you mean 'season'?"),
    "unknown inside": (
        {"name": "x", "part": {"size": 1, "zzz": 1}}, "part: unknown key 'zzz'; known are rate, size"
    ),
    "text for a number": ({**LEAST, "season": "12"}, "season: expected an integer or null, got '12'"),
    "a fraction for an integer": ({**LEAST, "season": 1.5}, "season: expected an integer or null, got 1.5"),
    "true for an integer": ({"name": "x", "part": {"size": True}}, "part.size: expected an integer, got True"),
    "one for true": ({**LEAST, "exact": 1}, "exact: expected true or false, got 1"),
    "true for one": ({**LEAST, "kind": True}, "kind: expected one of 'a', 'b', 1, got True"),
    "out of range": ({"name": "x", "part": {"size": 0}}, "part.size: expected an integer of at least 1, got 0"),
    "on the open end": (
        {"name": "x", "part": {"size": 1, "rate": 1}}, "part.rate: expected a number of at least 0 and below 1, got 1"
    ),
    "NaN": ({**LEAST, "levels": [float("nan")]}, "levels[0]: expected a number, got nan"),
    "an item": ({**LEAST, "levels": [50, 0]}, "levels[1]: expected a number above 0, got 0"),
    "a number for a list": (
        {**LEAST, "levels": 50}, "levels: expected a list, each item a number above 0, got 50"
    ),
    "a list too short": ({**LEAST, "pair": [1]}, "pair: expected a list of 2: an integer, a string, got [1]"),
    "a value in a dictionary": ({**LEAST, "columns": {"a": [1]}}, "columns.a[0]: expected a string, got 1"),
    "a list for a dictionary": ({**LEAST, "columns": []}, "columns: expected an object, got []"),
    "neither": ({**LEAST, "either": None}, "either: expected an integer or a string, got None"),
    "an optional part": ({**LEAST, "other": {"size": 0}}, "other.size: expected an integer of at least 1, got 0"),
    "a rule of its own": ({**LEAST, "season": 13}, "season: expected another number than 13, got 13"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_does_not_fit_is_named_with_its_place(data, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(f'config.json: {message}')}$"):
        from_dict(Whole, data)


def test_an_integer_beyond_all_floats_is_no_number():
    with pytest.raises(ConfigError, match=r"^config.json: levels\[0\]: expected a number, got 1000"):
        from_dict(Whole, {**LEAST, "levels": [10**400]})


def test_an_instance_is_held_to_the_same_rules():
    with pytest.raises(SettingError, match=r"^part.size: expected an integer of at least 1, got 0$"):
        Whole(name="x", part=Part(size=0))
    with pytest.raises(SettingError, match=r"^season: expected an integer or null, got 'x'$"):
        Whole(name="x", part=Part(size=1), season="x")
