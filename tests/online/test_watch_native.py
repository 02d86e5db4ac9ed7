"""The compiled step of a watch against the NumPy files that specify it, row by row, and what it promises beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel import Detector, native
from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.engine import Engine
from carrousel.errors import SettingError, ShapeError, TimeError
from carrousel.online import tail
from carrousel.online.baseline import WEEK, feature_count
from carrousel.online.covariate import Scaling
from carrousel.online.forecast import HORIZONS, head_size
from carrousel.online.native_watch import constants
from carrousel.online.watch import Readings, Watch

ISA = native.chosen()
pytestmark = pytest.mark.skipif(ISA == "numpy", reason="the native engine is not built, or CARROUSEL_ISA=numpy")

SETS = [name for name, supported, *_ in native.module().instruction_sets() if supported] if ISA != "numpy" else []
FIELDS = Readings._fields

# Both twins do the same operations on the same numbers in the same order, but for functions of float64, which are
# within 3 units in the last place of each other. Of (1 + e / s)^-a, with logarithms up to 70, that leaves 70 · 2⁻⁵¹ =
# 3e-14, and so much was measured over 4,000 rows of 32 streams. But a feature or a quantile whose rounding to float32
# it turns, one in about 1e8, moves by 6e-8, which the network and the slope of a p-value multiply.
RELATIVE = 1e-6
ABSOLUTE = 1e-9  # of scores and p-values; of bands in units of the scale

KINDS = ("random", "seasonal", "bursty", "constant", "missing", "huge", "walk", "steps")


def engine(hidden_size: int = 12, covariates: int = 0) -> Engine:
    """A network with random weights."""
    features, numbers = feature_count(HORIZONS) + covariates, len(HORIZONS) * head_size()
    architecture = Architecture(
        [
            LSTM(name="lstm", input_size=features, hidden_size=hidden_size),
            Linear(name="head", input_size=hidden_size, output_size=numbers),
        ]
    )
    random = np.random.default_rng(0)
    tensors = {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in architecture.tensors().items()}
    return Engine(architecture, tensors)


def series(kind: str, rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    t, noise = np.arange(rows), random.normal(size=rows)
    if kind == "seasonal":
        return 50 + 10 * np.sin(t * 2 * np.pi / 288) + noise
    if kind == "bursty":
        return np.where(random.random(rows) < 0.02, np.exp(4 * np.abs(noise)), 0.1 * noise)
    if kind == "constant":
        return np.where(t == rows - 50, 8.0, 7.0)
    if kind == "missing":
        return np.where(random.random(rows) < 0.5, np.nan, np.where(random.random(rows) < 0.01, np.inf, noise))
    if kind == "huge":
        return np.where(random.random(rows) < 0.01, 10.0 ** random.integers(-200, 170, rows), 1e9 * noise)
    if kind == "walk":
        return np.cumsum(noise)
    if kind == "steps":
        return np.round(3 * noise) + 100 * (t // 300)
    return noise


def table(rows: int, streams: int, variables: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values (rows, streams, variables) of every kind, and seconds (rows, streams)."""
    each = [
        series(KINDS[(n + 3 * k) % len(KINDS)], rows, seed + 100 * n + k)
        for n in range(streams)
        for k in range(variables)
    ]
    seconds = 1.7e9 + np.arange(rows)[:, None] * np.array([300.0, 3600.0, 0.0, 60.0])[np.arange(streams) % 4]
    return np.stack(each, 1).reshape(rows, streams, variables), seconds


def with_covariates(values: np.ndarray, count: int) -> np.ndarray:
    """Values (rows, streams, variables), and behind them covariates, of which one is often missing and one leads."""
    random = np.random.default_rng(7)
    more = random.normal(size=(*values.shape[:2], count)) * 10.0 ** random.integers(-3, 4, count)
    more[random.random(more.shape) < 0.1] = np.nan
    more[random.random(more.shape) < 0.01] = np.inf
    return np.concatenate([values, more], 2)


# One covariate never varied, so it is not read.
SCALING = Scaling(np.array([0.5, -3.0, 100.0]), np.array([1.0, 0.0, 30.0]))


def specified(watch: Watch) -> Watch:
    """The same watch, stepped by NumPy."""
    watch._native = None
    return watch


def check_same(one: Readings, two: Readings, scale: np.ndarray) -> None:
    """Every output of a row; `scale` (N, K) is what the bands are in units of."""
    for name in FIELDS:
        a, b = getattr(one, name), getattr(two, name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        if a.dtype == bool:
            np.testing.assert_array_equal(a, b, name)
        else:
            unit = scale if name in ("expected", "lower", "upper", "residual") else 1.0
            np.testing.assert_allclose(a / unit, b / unit, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)


def compare(rows: int, variables: int, **options: object) -> int:
    """Step both twins over the same rows and hold each reading against the other; how many alarms there were."""
    covariates = 3 if "scaling" in options else 0
    network, streams, alarms = engine(covariates=covariates), len(KINDS), 0
    options = {"rate": 1e-2} | options
    fast = Watch(network, streams, variables, **options)
    slow = specified(Watch(network, streams, variables, **options))
    values, seconds = table(rows, streams, variables)
    if covariates:
        values = with_covariates(values, covariates)
    assert fast._native is not None
    for x, time in zip(values, seconds, strict=True):
        one, two = fast.step(x, time), slow.step(x, time)
        check_same(one, two, slow.baseline.deviation().reshape(streams, variables))
        alarms += int(one.alarm.sum())
    return alarms


@pytest.mark.parametrize("variables", [1, 3])
def test_every_reading_of_every_row_is_what_numpy_says(variables: int):
    assert compare(1200, variables) > 10


def test_the_promise_may_be_a_time():
    assert compare(500, 2, rate=1e-5, per_second=True, factor=0.5) > 0


@pytest.mark.parametrize("variables", [1, 2])
def test_covariates_say_what_numpy_says(variables: int):
    assert compare(1200, variables, scaling=SCALING) > 10


@pytest.mark.parametrize("options", [{}, {"scaling": SCALING}], ids=["values", "covariates"])
def test_what_is_beyond_all_that_was_calm_is_what_numpy_says(options: dict[str, object]):
    assert compare(1700, 2, beyond=0.1, **options) > 3


@pytest.mark.parametrize("isa", SETS)
def test_every_float16_is_read_and_rounded_as_numpy_does(isa: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARROUSEL_ISA", isa)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    streams = -(-len(halves) // WEEK)
    fast, slow = Watch(engine(), streams, 1, rate=1e-2), specified(Watch(engine(), streams, 1, rate=1e-2))
    row = np.arange(streams)
    state = kept(slow)
    state["baseline.week"].reshape(-1)[: len(halves)] = halves
    state["baseline.week_visits"][...] = 1
    state["baseline.count"][...] = 1000
    state["baseline.unit"][...] = 1
    # The spread is another one, so that all habits are told anew: they become half as large, or a thousandth.
    state["baseline.spread"][:, 0] = 16.5 * 2.0 ** (row % 12) * (1 + row / streams)
    state["baseline.mean"][:, 0] = row % 7
    fast.load(state)
    slow.load(state)
    for watch in (fast, slow):
        watch.step(np.full((streams, 1), np.nan), np.zeros(streams))
    assert (slow.state["baseline.unit"] > 16).all()
    np.testing.assert_array_equal(
        fast.state["baseline.week"].view(np.uint16), slow.state["baseline.week"].view(np.uint16)
    )


def test_bins_that_fill_say_what_numpy_says():
    values, seconds = table(250, 8, 2)
    fast, slow = Watch(engine(), 8, 2, rate=1e-2), specified(Watch(engine(), 8, 2, rate=1e-2))
    random, halved = np.random.default_rng(0), 0
    for row, (x, time) in enumerate(zip(values, seconds, strict=True)):
        if row == 150:
            for part in ("tail", "scores", "onsets"):
                slow.state[f"{part}.counts"][...] = random.integers(
                    0, tail.FULL + 1, slow.state[f"{part}.counts"].shape
                )
                slow.state[f"{part}.weight"][...] = 200.0
            fast.load(slow.state)
        weight = slow.tail.weight.copy()
        check_same(fast.step(x, time), slow.step(x, time), slow.baseline.deviation().reshape(8, 2))
        halved += int((slow.tail.weight < weight).sum())
        for part in ("tail", "scores", "onsets"):
            for name in ("counts", "weight"):
                np.testing.assert_array_equal(fast.state[f"{part}.{name}"], slow.state[f"{part}.{name}"], f"row {row}")
    assert halved > 10


@pytest.mark.parametrize("isa", SETS)
def test_every_instruction_set_says_the_same(isa: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARROUSEL_ISA", isa)
    compare(350, 2)


def test_a_constant_that_differs_is_seen(monkeypatch: pytest.MonkeyPatch):
    def told(module):
        return constants(module) | ({"tail.PRIOR": (1.001,)} if module is tail else {})

    monkeypatch.setattr("carrousel.online.native_watch.constants", told)
    with pytest.raises(AssertionError):
        compare(200, 1)


def test_the_functions_of_float64_are_right_to_the_last_place_or_two():
    random = np.random.default_rng(0)
    spread = 10 ** np.concatenate([random.uniform(-300, 150, 4000), random.uniform(-8, 2.5, 4000)])
    x = np.concatenate([random.normal(size=4000), spread])
    x = np.concatenate([x, -x, [0.0, 1.0, -1.0, 1e-320, 700.0, -700.0, 2.0**60, 1e150]])
    found = np.empty((5, len(x)))
    exact = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        truth = [np.exp(exact), np.log(exact), np.log1p(exact), np.arcsinh(exact), np.sinh(exact)]
    within = [np.abs(x) <= 700, x >= np.finfo(float).tiny, x >= 0, x == x, np.abs(x) <= 700]
    for isa in SETS:
        native.module().watch_functions(isa, x, found)
        for name, y, right, valid in zip(("exp", "log", "log1p", "asinh", "sinh"), found, truth, within, strict=True):
            units = np.abs(y[valid] - right[valid]) / np.spacing(np.abs(right[valid]).astype(float))
            assert units.max() <= 2.5, f"{name}, {isa}: {units.max()} at {x[valid][units.argmax()]!r}"


def bits(readings: Readings, rows: slice | list[int] = slice(None)) -> list[bytes]:
    return [getattr(readings, name)[rows].tobytes() for name in FIELDS]


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 40), variables=st.sampled_from([1, 2, 3, 17]), seed=st.integers(0, 1000), data=st.data()
)  # fmt: skip
def test_a_stream_gives_the_same_bits_alone_and_among_any_others(batch: int, variables: int, seed: int, data):
    place = data.draw(st.integers(0, batch - 1))
    network = engine(5)
    values, seconds = table(220, batch, variables, seed)
    together, alone = (Watch(network, n, variables, rate=1e-2) for n in (batch, 1))
    for x, time in zip(values, seconds, strict=True):
        one, many = alone.step(x[[place]], time[[place]]), together.step(x, time)
        assert bits(one) == bits(many, [place])


def kept(watch: Watch) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in watch.state.items()}


@pytest.mark.parametrize("options", [{}, {"scaling": SCALING, "beyond": 0.2}], ids=["plain", "covariates"])
@pytest.mark.parametrize("kinder", [lambda w: w, specified], ids=["native", "numpy"])
def test_state_of_either_twin_continues_in_the_native_one(kinder, options: dict[str, object]):
    values, seconds = table(400, 6, 2)
    network = engine(covariates=3 if options else 0)
    if options:
        values = with_covariates(values, 3)
    first, second = kinder(Watch(network, 6, 2, rate=1e-2, **options)), Watch(network, 6, 2, rate=1e-2, **options)
    for x, time in zip(values[:300], seconds[:300], strict=True):
        first.step(x, time)
    second.load(kept(first))
    forked = first.fork([4, 0, 4])
    for x, time in zip(values[300:], seconds[300:], strict=True):
        one, two, three = first.step(x, time), second.step(x, time), forked.step(x[[4, 0, 4]], time[[4, 0, 4]])
        check_same(one, two, first.baseline.deviation().reshape(6, 2))
        assert bits(two, [4, 0, 4]) == bits(three)
    if first._native is not None:
        for name, array in kept(first).items():
            assert array.tobytes() == second.state[name].tobytes(), name


def test_a_reset_stream_starts_afresh():
    values, seconds = table(200, 3, 1)
    used, fresh = Watch(engine(), 3, 1, rate=1e-2), Watch(engine(), 3, 1, rate=1e-2)
    for x, time in zip(values, seconds, strict=True):
        used.step(x, time)
    used.reset([1])
    for x, time in zip(values, seconds, strict=True):
        assert bits(used.step(x, time), [1]) == bits(fresh.step(x, time), [1])


def test_a_reading_stays_as_it_was():
    values, seconds = table(300, 4, 1)
    watch = Watch(engine(), 4, 1, rate=1e-2)
    readings = [watch.step(x, time) for x, time in zip(values, seconds, strict=True)]
    then = [bits(reading) for reading in readings]
    again = Watch(engine(), 4, 1, rate=1e-2)
    assert then == [bits(again.step(x, time)) for x, time in zip(values, seconds, strict=True)]


def test_arrays_of_other_forms_are_brought_into_form():
    values, seconds = table(30, 3, 2)
    plain, other = Watch(engine(), 3, 2, rate=1e-2), Watch(engine(), 3, 2, rate=1e-2)
    for x, time in zip(values.astype(np.float32), seconds.astype(np.int64), strict=True):
        turned = np.asfortranarray(x.astype(np.float64))
        assert bits(plain.step(turned, time.astype(np.float64))) == bits(other.step(x, time))


@pytest.mark.parametrize(
    ("values", "seconds", "error", "said"),
    [
        (np.zeros((2, 1)), np.zeros(3), ShapeError, r"expected float64 \(3, 1\) and \(3,\), got \(2, 1\) and \(3,\)"),
        (np.zeros((3, 1)), np.zeros(2), ShapeError, r"got \(3, 1\) and \(2,\)"),
        (np.zeros((3, 1)), np.array([0, np.nan, 0]), TimeError, "expected finite numbers, got nan for stream 1"),
        (np.zeros((3, 1)), np.array([0, 0, -np.inf]), TimeError, "expected finite numbers, got -inf for stream 2"),
    ],
)
@pytest.mark.parametrize("kinder", [lambda w: w, specified], ids=["native", "numpy"])
def test_what_does_not_fit_is_refused_and_changes_nothing(kinder, values, seconds, error, said: str):
    watch = kinder(Watch(engine(), 3, 1, rate=1e-2))
    watch.step(np.ones((3, 1)), np.zeros(3))
    before = kept(watch)
    with pytest.raises(error, match=said):
        watch.step(values, seconds)
    for name, array in kept(watch).items():
        assert array.tobytes() == before[name].tobytes(), name


def test_another_network_is_refused():
    layer = Linear(name="head", input_size=3, output_size=4)
    weights = {"head.weight": np.zeros((4, 3), np.float32), "head.bias": np.zeros(4, np.float32)}
    with pytest.raises(SettingError, match=rf"expected one stack .* from {feature_count(HORIZONS)} features"):
        Watch(Engine([layer.to_data()], weights), 1, 1, rate=1e-2)


def test_an_open_trace_sees_the_steps():
    watch = Watch(engine(), 2, 1, rate=1e-2)
    with watch.session.trace() as gates:
        for _ in range(3):
            watch.step(np.ones((2, 1)), np.zeros(2))
    assert gates["lstm.i"].shape[0] == 3
    assert watch.step(np.ones((2, 1)), np.zeros(2)).score.shape == (2,)


@pytest.mark.parametrize("options", [{}, {"scaling": SCALING, "beyond": 0.2}], ids=["plain", "covariates"])
def test_any_state_is_survived(options: dict[str, object]):
    random, width = np.random.default_rng(0), 3 + 3 * bool(options)
    watch = Watch(engine(covariates=width - 3), 4, 3, rate=1e-2, **options)
    for _ in range(20):
        for array in watch.state.values():
            array[...] = np.frombuffer(random.bytes(array.nbytes), array.dtype).reshape(array.shape)
        for _ in range(20):
            watch.step(random.normal(size=(4, width)), random.normal(size=4))


def test_a_stream_takes_at_most_4096_bytes():
    watch = Detector.online().watch(100)
    assert sum(array.nbytes for array in watch.state.values()) <= 100 * 4096
