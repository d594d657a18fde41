"""Baked maps in int8 and half: error within the stated bound, odd shapes, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cuda_ext import backends
from cuda_ext.packed import PackedMap, pack_map

LANES = backends.native().available_lanes()
STORAGES = ("int8", "half")


def example(n: int, channels: int = 3, k: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-6, -1, (n, channels, 1))  # maps of still and of lively Gaussians
    return (sizes * rng.normal(size=(n, channels, k))).astype(np.float32), rng.normal(size=k).astype(np.float32)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("n", "channels", "k"), [(1000, 3, 24), (1, 1, 1), (0, 3, 7), (5, 1, 52), (11, 3, 3)])
def test_error_stays_within_the_bound(lanes, storage, n, channels, k):
    backends.native().set_lanes(lanes)
    values, features = example(n, channels, k)
    packed = pack_map(values, storage)
    error = np.abs(packed.apply(features) - values.astype(np.float64) @ features)
    bound = packed.error_bound(features)
    assert error.shape == bound.shape == (n, channels)
    assert (error <= bound).all()
    # The bound is a worst case, but not an idle one.
    assert n < 100 or np.percentile(error / bound, 99) > 0.02


@pytest.mark.parametrize("storage", STORAGES)
def test_bound_is_reached_within_a_factor_by_the_worst_map(storage):
    values = np.full((1, 1, 8), 1.0, np.float32)
    values[..., 1:] = 0.5 / 127 if storage == "int8" else 0.5 + 2.0**-12
    packed, features = pack_map(values, storage), np.ones(8, np.float32)
    error = np.abs(packed.apply(features) - values.astype(np.float64) @ features)
    assert 0.2 < float((error / packed.error_bound(features)).item()) <= 1


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("storage", STORAGES)
def test_product_is_that_of_the_unpacked_map(lanes, storage):
    backends.native().set_lanes(lanes)
    values, features = example(333)
    values[:, :, 5] *= 1e-5  # becomes denormal halves
    packed = pack_map(values, storage)
    want = packed.unpack().astype(np.float64) @ features
    np.testing.assert_allclose(packed.apply(features), want, atol=2e-6 * np.abs(want).max(), rtol=1e-5)


def test_every_half_is_read_right():
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = bits[np.isfinite(bits)]
    data = np.zeros((len(finite) // 16, 1, 16), np.float16)
    data[:, 0] = finite.reshape(-1, 16)
    packed = PackedMap(data, np.ones((len(finite), 1), np.float32))
    for lanes in LANES:
        backends.native().set_lanes(lanes)
        assert np.array_equal(packed.apply(np.ones(1, np.float32))[:, 0], finite.astype(np.float32))


@pytest.mark.parametrize("storage", STORAGES)
def test_threads_do_not_change_a_bit(storage):
    values, features = example(20_000)
    packed, results = pack_map(values, storage), []
    for threads in (1, 2, 5):
        backends.native().set_threads(threads)
        results.append(packed.apply(features))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_sizes_are_a_quarter_and_half():
    values, _ = example(1600)
    scales = 1600 * 3 * 4
    assert pack_map(values, "int8").nbytes == values.nbytes // 4 + scales
    assert pack_map(values, "half").nbytes == values.nbytes // 2 + scales


@pytest.mark.parametrize("storage", STORAGES)
def test_still_rows_and_extreme_sizes(storage):
    values, features = example(64)
    values[:16] = 0
    values[16:32] *= 1e29 / np.abs(values[16:32]).max()
    values[32:48] *= 1e-20
    packed = pack_map(values, storage)
    got = packed.apply(features)
    assert np.isfinite(got).all() and not got[:16].any()
    assert (np.abs(got - values.astype(np.float64) @ features) <= packed.error_bound(features)).all()


def test_result_goes_where_it_is_asked():
    values, features = example(40)
    packed = pack_map(values)
    out = np.empty((40, 3), np.float32)
    assert packed.apply(features, out) is out
    assert np.array_equal(out, packed.apply(features))


def test_input_is_checked(unchecked_shapes):
    values, features = example(40)
    packed = pack_map(values)
    for bad in (np.nan, np.inf, 1e31):
        spoiled = values.copy()
        spoiled[7, 1, 3] = bad
        with pytest.raises(ValueError, match="map: expected finite numbers"):
            pack_map(spoiled)
    with pytest.raises(ValueError, match="features: expected finite numbers"):
        packed.apply(np.where(np.arange(24) == 3, np.nan, features).astype(np.float32))
    with pytest.raises(ValueError, match=r"features: expected shape \(24\), got \(23,\)"):
        packed.apply(features[:23])
    with pytest.raises(TypeError, match="features: expected a numpy array of float32, got float64"):
        packed.apply(features.astype(np.float64))
    with pytest.raises(TypeError, match="map: expected a numpy array of float32, got list"):
        pack_map(values.tolist())
    with pytest.raises(ValueError, match="storage: expected one of int8, half, got 'int4'"):
        pack_map(values, "int4")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="features, got 0"):
        pack_map(values[..., :0])
    with pytest.raises(ValueError, match="out: expected a contiguous array"):
        packed.apply(features, np.empty((3, 40), np.float32).T)
    with pytest.raises(ValueError, match="data: expected shape"):
        PackedMap(packed.data[1:], packed.scales)
    with pytest.raises(TypeError, match="data: expected a numpy array of int8 or float16"):
        PackedMap(packed.data.astype(np.int16), packed.scales)


def test_torch_is_not_needed():
    code = """
import sys
import numpy as np
from cuda_ext.packed import pack_map
assert pack_map(np.ones((2, 3, 4), np.float32)).apply(np.ones(4, np.float32)).shape == (2, 3)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
