"""The frames of networks, in torch: twins of `clipose_ros.core.normalization`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.core.normalization import FACING_WEIGHT, HEIGHT_LIMIT, IMAGE_UP, IMAGE_UP_WEIGHT
from training.optimisation.precision import exact_product


def view_rotation(centre: Tensor) -> Tensor:
    """Turn the line of sight to a point into the z axis: torch twin of `core.normalization.view_rotation`.

    Parameters
    ----------
    centre : (B, 3) float
        Points, camera frame, in front of it.

    Returns
    -------
    (B, 3, 3) float
        R_view_camera.
    """
    x, y, z = (centre / centre.norm(dim=-1, keepdim=True)).unbind(-1)
    k = 1 / (1 + z)
    return torch.stack([1 - x * x * k, -x * y * k, -x, -x * y * k, 1 - y * y * k, -y, x, y, z], dim=-1).unflatten(
        -1, (3, 3)
    )


def level_rotation(centre: Tensor, up: Tensor) -> Tensor:
    """Turn up into -y and the line of sight into x = 0: torch twin of `core.normalization.level_rotation`.

    Parameters
    ----------
    centre : (B, 3) float
        Points, camera frame.
    up : (B, 3) float
        Unit vectors, camera frame.

    Returns
    -------
    (B, 3, 3) float
        R_level_camera.
    """
    sight = F.normalize(centre, dim=-1) + IMAGE_UP_WEIGHT * torch.from_numpy(IMAGE_UP).to(centre)
    z = F.normalize(sight - (sight * up).sum(-1, keepdim=True) * up, dim=-1)
    return torch.stack([torch.linalg.cross(z, up), -up, z], dim=1)


def known_ground(centre: Tensor, surface: Tensor, scale: Tensor) -> Tensor:
    """Say what a network is told of surfaces: torch twin of `core.normalization.known_ground`.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the clouds, camera frame [m].
    surface : (B, 4) float
        As from `seen_surfaces`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    (B, 4) float
        Whether up is known, the sine of the line of sight's descent, whether the height is known, and it.
    """
    up, offset = surface[:, :3], surface[:, 3]
    known = up.any(-1)
    high = known & offset.isfinite()
    along = (centre * up).sum(-1)
    height = ((along - offset.nan_to_num()) / scale).clamp(-HEIGHT_LIMIT, HEIGHT_LIMIT)
    return torch.stack(
        [known.float(), -along / centre.norm(dim=-1), high.float(), torch.where(high, height, 0.0)], dim=-1
    )


def known_place(centre: Tensor, R_network_camera: Tensor, surface: Tensor, scale: Tensor) -> Tensor:
    """Say what a network that refines is told: torch twin of `core.normalization.known_place`.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the poses, camera frame [m].
    R_network_camera : (B, 3, 3) float
        Rotation into the network's frame.
    surface : (B, 4) float
        As from `seen_surfaces`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    (B, 9) float32
        Whether up is known, whether the height is known, the height, up, and the line of sight.
    """
    known, _, high, height = known_ground(centre, surface, scale).unbind(-1)
    directions = torch.stack([surface[:, :3], F.normalize(centre, dim=-1)], dim=1)
    directions = exact_product(directions, R_network_camera.transpose(1, 2)).flatten(1)
    return torch.cat([torch.stack([known, high, height], dim=-1), directions], dim=-1)


def quaternion_rotation(quaternion: Tensor) -> Tensor:
    """Make rotations of unit quaternions.

    Parameters
    ----------
    quaternion : (B, 4) float
        Of unit length, the real part first.

    Returns
    -------
    (B, 3, 3) float
        Rotations.
    """
    axis = F.normalize(quaternion[:, 1:], dim=-1)
    return axis_rotation(axis, 2 * torch.atan2(quaternion[:, 1:].norm(dim=-1), quaternion[:, 0]))


def axis_rotation(axis: Tensor, angle: Tensor) -> Tensor:
    """Make rotations about axes (Rodrigues).

    Parameters
    ----------
    axis : (B, 3) float
        Unit vectors.
    angle : (B,) float
        Angles [rad].

    Returns
    -------
    (B, 3, 3) float
        Rotations.
    """
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return torch.eye(3, device=axis.device) + sine * cross + (1 - cosine) * exact_product(cross, cross)


def facing_rotation(rotation: Tensor, camera: Tensor) -> Tensor:
    """Turn axis-symmetric objects about y until x points most towards the camera.

    Parameters
    ----------
    rotation : (B, 3, 3) float
        R_network_object.
    camera : (B, 3) float
        The camera's place in the network frame, in any unit.

    Returns
    -------
    (B, 3, 3) float
        R_network_object with the same y axis.
    """
    y, towards = rotation[:, :, 1], F.normalize(camera, dim=-1)
    x = towards - (towards * y).sum(-1, keepdim=True) * y
    x = x + FACING_WEIGHT * rotation[:, :, 0]  # seen exactly along its axis, any x will do
    x = x / x.norm(dim=-1, keepdim=True)
    return torch.stack([x, y, torch.cross(x, y, dim=-1)], dim=-1)
