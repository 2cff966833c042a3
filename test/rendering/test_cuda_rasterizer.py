"""The rasteriser on gsplat draws what the textbook's draws; without a GPU, a stand-in has gsplat's conventions."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipose_ros.core.types import Intrinsics
from clipose_ros.rendering.backends import make_rasterizer
from clipose_ros.rendering.cuda import CudaRasterizer, full_covariances
from clipose_ros.rendering.gaussians import Rendering
from clipose_ros.rendering.reference import ReferenceRasterizer

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("drawn_clouds", Path(__file__).with_name("drawn_clouds.py"))
drawn_clouds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawn_clouds)
cloud, turned = drawn_clouds.cloud, drawn_clouds.turned

INTRINSICS = Intrinsics(fx=150.0, fy=140.0, cx=23.5, cy=19.2)
SIZE = (48, 40)
FAR = np.array([0.01, -0.005, 0.5])


def gpu_rasterizer() -> CudaRasterizer:
    """On gsplat, where it is: the reason why not, elsewhere."""
    try:
        return CudaRasterizer()
    except RuntimeError as error:
        pytest.skip(str(error))


def stand_in(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options):
    """Blend all Gaussians at all pixels, as gsplat documents it: world to camera, pixels whose centres are at .5."""
    torch = pytest.importorskip("torch")
    assert quats is None and scales is None and options["rasterize_mode"] == "antialiased"
    view, camera, covars = viewmats[0], Ks[0], options["covars"]
    at = means @ view[:3, :3].T + view[:3, 3]
    x, y, z = at.unbind(1)
    zero = torch.zeros_like(z)
    fx, fy, cx, cy = camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2]
    jacobian = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], 1).reshape(-1, 2, 3)
    turned = view[:3, :3] @ covars @ view[:3, :3].T
    sharp = jacobian @ turned @ jacobian.transpose(1, 2)
    wide = sharp + options["eps2d"] * torch.eye(2)
    opacities = opacities * torch.sqrt(torch.linalg.det(sharp).clamp_min(0) / torch.linalg.det(wide))
    inverse = torch.linalg.inv(wide)
    column, row = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    image, through = torch.zeros(height, width, colors.shape[1]), torch.ones(height, width)
    for i in torch.argsort(z, stable=True).tolist():
        if z[i] < options["near_plane"]:
            continue
        off = torch.stack([column - (fx * x[i] / z[i] + cx), row - (fy * y[i] / z[i] + cy)], dim=-1)
        sigma = 0.5 * torch.einsum("hwi,ij,hwj->hw", off, inverse[i], off)
        alpha = (opacities[i] * torch.exp(-sigma)).clamp_max(0.999)
        weight = torch.where(alpha < 1 / 255, torch.zeros_like(alpha), alpha) * through
        through = through - weight
        image = image + weight[..., None] * colors[i]
    return image[None], (1 - through)[None, ..., None], {}


def assert_draws_what_the_reference_draws(rasterizer, degrees: float, two_sided: bool) -> None:
    gaussians = cloud(two_sided=two_sided)
    expected = ReferenceRasterizer().render(gaussians, turned(degrees), FAR, INTRINSICS, SIZE)
    drawn = rasterizer.render(gaussians, turned(degrees), FAR, INTRINSICS, SIZE)
    np.testing.assert_allclose(drawn.alpha, expected.alpha, atol=4e-3)
    np.testing.assert_allclose(drawn.image, expected.image, atol=8e-3)
    solid = expected.alpha > 0.1
    np.testing.assert_allclose(drawn.depth_m[solid], expected.depth_m[solid], atol=2e-3)


def assert_slopes_as_differences_say(rasterizer) -> None:
    gaussians, (width, height) = cloud(30), SIZE
    ramp = np.tile(np.arange(width, dtype=np.float32) / width, (height, 1))
    weights = Rendering(np.tile(ramp[..., None], (1, 1, 4)), np.zeros_like(ramp), ramp**2)
    expected = ReferenceRasterizer().slope(gaussians, turned(35), FAR, INTRINSICS, SIZE, weights)
    found = rasterizer.slope(gaussians, turned(35), FAR, INTRINSICS, SIZE, weights)
    # Where a Gaussian ends, at an alpha of 1 / 255, pixels come and go: differences see that, derivatives do not.
    assert np.linalg.norm(found - expected) < 0.07 * np.linalg.norm(expected)
    assert np.abs(expected).min() > 0.01 * np.abs(expected).max()  # each of the six counts


@pytest.mark.parametrize("degrees", [0.0, 35.0, 140.0])
@pytest.mark.parametrize("two_sided", [True, False])
def test_conventions_are_those_of_gsplat(degrees, two_sided):
    pytest.importorskip("torch")
    assert_draws_what_the_reference_draws(CudaRasterizer("cpu", stand_in), degrees, two_sided)


def test_derivatives_by_the_pose_come_back_through_the_views_matrix():
    pytest.importorskip("torch")
    assert_slopes_as_differences_say(CudaRasterizer("cpu", stand_in))


@pytest.mark.parametrize("degrees", [0.0, 35.0, 140.0])
@pytest.mark.parametrize("two_sided", [True, False])
def test_gsplat_agrees_with_the_reference(degrees, two_sided):
    assert_draws_what_the_reference_draws(gpu_rasterizer(), degrees, two_sided)


def test_gsplat_has_the_derivatives_of_the_reference():
    assert_slopes_as_differences_say(gpu_rasterizer())


def test_nothing_is_drawn_of_what_is_behind_the_camera():
    pytest.importorskip("torch")
    drawn = CudaRasterizer("cpu", stand_in).render(cloud(), np.eye(3), np.array([0, 0, -0.5]), INTRINSICS, SIZE)
    assert drawn.image.shape == (40, 48, 4)
    assert drawn.alpha.max() == drawn.depth_m.max() == drawn.image.max() == 0


def test_covariances_are_written_in_full():
    expected = [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
    np.testing.assert_array_equal(full_covariances(np.float32([[1, 2, 3, 4, 5, 6]]))[0], expected)


@pytest.mark.parametrize("missing", ["gsplat", "torch"])
def test_what_is_missing_is_named_with_its_cure(missing, monkeypatch):
    if missing == "gsplat":
        pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RuntimeError, match=rf"rasterizer: .*{missing}.*pip install clipose_ros\[cuda\]"):
        make_rasterizer("cuda")


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="rasterizer: expected cpu, cuda or reference, got gpu"):
        make_rasterizer("gpu")


def test_torch_is_imported_where_it_is_asked_for_alone():
    code = (
        "import sys, clipose_ros.rendering.cuda, clipose_ros.rendering.backends as backends;"
        "backends.make_rasterizer('reference');"
        "print(sorted({'torch', 'gsplat', 'numba'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
