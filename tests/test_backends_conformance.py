"""The same scenes on every backend that is present, and on the CUDA backend's kernels and host code run on the CPU."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import FIELDS, identity_view, images_of, leaves, relative
from rig_parts import rig_parts
from simt_launcher import SimtLauncher
from test_cuda_raster import pull, scene
from test_kernels_losses import image_pair
from test_kernels_rig import cast
from test_kernels_views import harmonics

from avatar import doctor, renderer
from avatar.errors import BackendUnavailable
from avatar.evaluation.bench_scenes import head_scene
from cuda_ext import backends, reference
from cuda_ext.gpu.ops import GpuOps
from cuda_ext.rig_types import each_array

_SIMT = GpuOps(lambda device: SimtLauncher(seed=11))
_REASONS = backends.available()
PRESENT = {name: backends.get(name) for name, reason in _REASONS.items() if reason is None} | {"cuda on the CPU": _SIMT}
ON_GPU = backends.PREFERENCE["cuda"]


@pytest.fixture(params=PRESENT)
def backend(request):
    """(functions, device, how far images may be off)."""
    device = "cuda" if request.param in ON_GPU else "cpu"
    return PRESENT[request.param], device, 2e-4 if request.param == "gsplat" else 2e-5


@pytest.mark.parametrize("n", [1, 40, 500])
def test_images_and_gradients(backend, n):
    functions, device, tolerance = backend
    tensors, view = scene(n, 50, 37, seed=n)
    inputs, exact = leaves([t.to(device) for t in tensors]), leaves(tensors, torch.float64)
    got, want = images_of(functions.rasterize(*inputs, view)), images_of(reference.rasterize(*exact, view))
    for image, twin in zip(got, want, strict=True):
        assert image.dtype == torch.float32 and image.shape == twin.shape
        assert relative(image.cpu(), twin) < tolerance
    gradients = pull(tuple(i.cpu() for i in got), inputs), pull(want, exact)
    for name, gradient, twin in zip(FIELDS, *gradients, strict=True):
        assert relative(gradient.cpu(), twin) < 1e-3, name


def test_conventions(backend):
    """Pixel centres at +0.5, premultiplied colour, depth 0 where nothing is, order by depth, then by index."""
    functions, device, _ = backend
    tensors = [
        torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, 2]]), torch.tensor([[2.0, 0, 0, 0]] * 3),
        torch.full((3, 3), 0.04), torch.tensor([0.5, 0.5, 0.9]), torch.eye(3),
    ]  # fmt: skip
    view = identity_view()
    rgb, alpha, depth = (i[0].cpu() for i in images_of(functions.rasterize(*(t.to(device) for t in tensors), view)))
    torch.testing.assert_close(rgb[10, 16], torch.tensor([0.5, 0.25, 0.225]), atol=1e-4, rtol=0)
    assert alpha[10, 16] == pytest.approx(0.975, abs=1e-4)
    assert depth[10, 16] == pytest.approx((0.75 + 2 * 0.225) / 0.975, abs=1e-4)
    assert alpha.argmax() == 10 * 33 + 16 and alpha[0, 0] == 0 and depth[0, 0] == 0
    behind = [tensors[0] * torch.tensor([1, 1, -1]), *tensors[1:]]
    assert not functions.rasterize(*(t.to(device) for t in behind), view).alpha.any()
    empty = images_of(functions.rasterize(*(t[:0].to(device) for t in tensors), view))
    assert not any(i.any() for i in empty)


def test_harmonics_features_normals_and_what_a_backend_may_refuse(backend):
    functions, device, tolerance = backend
    (*tensors, _), view = scene(40, 30, 24)
    tensors += [harmonics(40, 1)]
    features = torch.rand(40, 3, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(40, dtype=torch.int32)
    got = functions.rasterize(*(t.to(device) for t in tensors), view, features=features.to(device), normals=True)
    want = reference.rasterize(*(t.double() for t in tensors), view, features=features.double(), normals=True)
    for name in ("rgb", "features", "normals"):
        assert relative(getattr(got, name).cpu(), getattr(want, name)) < tolerance, name
    try:
        asked = functions.rasterize(*(t.to(device) for t in tensors), view, labels=labels.to(device), median_depth=True)
    except backends.BackendMissing as error:
        assert functions is PRESENT.get("gsplat") and "next: use the backend" in str(error)
        return
    want = reference.rasterize(*(t.double() for t in tensors), view, labels=labels, median_depth=True)
    assert (asked.labels.cpu() == want.labels).float().mean() > 0.99
    assert (asked.median_depth.cpu() - want.median_depth).abs().median() < 1e-4


def test_losses(backend):
    functions, device, _ = backend
    image, target = image_pair(21, 30, 3)
    leaf, exact = image.to(device).requires_grad_(), image.double().requires_grad_()
    got = functions.photometric_loss(leaf, target.to(device), 0.2)
    want = reference.photometric_loss(exact, target.double(), 0.2)
    assert got.item() == pytest.approx(want.item(), abs=1e-5)
    assert relative(torch.autograd.grad(got, leaf)[0].cpu(), torch.autograd.grad(want, exact)[0]) < 1e-4
    assert functions.ssim(image.to(device), target.to(device)) == pytest.approx(
        reference.ssim(exact, target.double()), abs=1e-5
    )


def test_rig(backend):
    functions, device, _ = backend
    parts = [each_array(part, lambda t: t.to(device)) for part in rig_parts(120, 30)]
    exact = [cast(p, torch.float64, learn=False) for p in rig_parts(120, 30)]
    for got, want in zip(functions.rig(*parts), reference.rig(*exact), strict=True):
        assert relative(got.cpu(), want) < 1e-5


def test_spoilt_input_is_refused(backend):
    functions, device, _ = backend
    tensors, view = scene(20)
    tensors[2][3, 1] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinity"):
        functions.rasterize(*(t.to(device) for t in tensors), view)


@pytest.mark.parametrize("name", [name for name in backends.NAMES if _REASONS[name]])
def test_absent_backends_say_why_and_what_to_do(name):
    gaussians, camera = head_scene(10, 16)
    with pytest.raises(BackendUnavailable, match=r"(?s)\n  next: "):
        renderer.render(gaussians, camera, backend=name)


def test_auto_goes_by_the_device():
    assert backends.get("auto", "cpu") is backends.get("cpu")
    with pytest.raises(backends.UnknownBackend, match="no backend renders tensors on 'meta'; expected cpu or cuda"):
        backends.get("auto", "meta")
    if all(_REASONS[name] for name in ON_GPU):
        with pytest.raises(backends.BackendMissing) as caught:
            backends.get("auto", "cuda")
        assert str(caught.value) == _REASONS["cuda"]


def test_doctor_explains_every_backend():
    rows = {c["name"].removeprefix("backend "): c for c in doctor.examine()["checks"] if "backend" in c["name"]}
    assert set(rows) == set(backends.NAMES)
    for name, row in rows.items():
        assert row["ok"] == (_REASONS[name] is None)
        assert row["ok"] or (row["fix"] and "next:" not in row["detail"] and not row["needed"])
