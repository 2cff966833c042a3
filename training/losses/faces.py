"""Box faces as every point votes for them (GPV-Pose): normals, distances, confidences, and the consistency of the
planes with the pose.

Faces come in the order y+, x+, z+, x-, z-, y-; normals point outwards. A plane is the set of p with normal · p =
distance, in the network frame [scale]. The terms measure lengths in metres, as the papers do: their weights and the
303.5 / m² of the confidence are made for metres.

Every term is (B,): the mean over six faces, each times its `face_weights`, so that what symmetry hides adds 0. GPV-Pose
also leaves out the x faces of mugs, whose origin its data put on the axis of the body; here it is the centre of the
box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.directions import absolute

AXES = (1, 0, 2, 0, 2, 1)  # of the object frame, normal to each face
SIGNS = (1.0, 1.0, 1.0, -1.0, -1.0, -1.0)
PLUS, MINUS = (1, 0, 2), (3, 5, 4)  # the faces at the ends of x, y, z
# of the votes' spread, and [scale²]: keeps the slope of a plane finite where all votes fall on one line or point
SLOPE_RIDGE = 1e-6


@dataclass(frozen=True)
class Planes:
    normal: Tensor  # (B, 6, 3) unit, outwards, network frame
    distance: Tensor  # (B, 6) [scale] from the origin of the network frame, negative where the face lies behind it


def face_weights(x_weight: Tensor) -> Tensor:
    """1 for the y faces, `x_weight` (B,) for the others -> (B, 6): which faces exist where x is unknown."""
    along_y = torch.tensor(AXES, device=x_weight.device) == 1
    return torch.where(along_y, 1.0, x_weight[:, None])


def face_normals(rotation: Tensor) -> Tensor:
    """Outward normals (B, 6, 3) of a box with axes R_network_object (B, 3, 3)."""
    return rotation.transpose(1, 2)[:, AXES] * rotation.new_tensor(SIGNS)[:, None]


def box_planes(normals: Tensor, offset: Tensor, half_size: Tensor) -> Planes:
    """Planes of a box: normals (B, 6, 3), centre offset (B, 3) and half extents x, y, z (B, 3) [scale]."""
    return Planes(normals, half_size[:, AXES] + torch.einsum("bfi,bi->bf", normals, offset))


def face_distances(points: Tensor, planes: Planes) -> Tensor:
    """Distance (B, N, 6) [scale] of points (B, N, 3) from each plane along its outward normal; negative outside the
    box.
    """
    return planes.distance[:, None] - torch.einsum("bni,bfi->bnf", points, planes.normal)


def normal_loss(normals: Tensor, planes: Planes, weights: Tensor) -> Tensor:
    """1 - n̂ · n of the voted normals (B, N, 6, 3) (GPV-Pose, weight 3)."""
    error = 1 - torch.einsum("bnfi,bfi->bnf", normals, planes.normal)
    return (error.mean(1) * weights).mean(-1)


def distance_loss(distances: Tensor, true: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """|d̂ - d| [m] of distances (B, N, 6) [scale] (GPV-Pose, weight 3)."""
    return ((distances - true).abs().mean(1) * weights).mean(-1) * scale


def face_confidence_target(normals: Tensor, distances: Tensor, planes: Planes, true: Tensor, scale: Tensor) -> Tensor:
    """exp(-303.5 d²), d = ‖n̂ d̂ - n d‖ [m], how far a vote falls from the foot of its point on the face (GPV-Pose):
    0.97 at 1 cm, 0.47 at 5.

    Parameters: normals (B, N, 6, 3), distances (B, N, 6) [scale] as voted; true (B, N, 6) [scale]; scale (B,). Returns:
    (B, N, 6), whose gradient goes on to the votes.
    """
    miss = normals * distances[..., None] - planes.normal[:, None] * true[..., None]
    return torch.exp(-303.5 * miss.square().sum(-1) * scale[:, None, None].square())


def face_confidence_loss(confidences: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """|ĉ - c| of confidences (B, N, 6) (GPV-Pose, weight 1)."""
    return ((confidences - target).abs().mean(1) * weights).mean(-1)


def fitted_planes(
    points: Tensor, normals: Tensor, distances: Tensor, confidences: Tensor, rotation: Tensor, offset: Tensor
) -> Planes:
    """The plane of each face by least squares through the points' votes p + n̂ d̂, weighted by their confidences
    (GPV-Pose's box voting).

    With h the coordinate of a vote along the axis of its face in the true object frame and u, v the other two, minimise
    Σ c (h - a u - b v - h0)². GPV-Pose regresses z of the camera frame, which is singular for planes along the line of
    sight; heights above the true face never are, and the outward side needs no guess.

    Parameters: points (B, N, 3) network frame [scale]; normals (B, N, 6, 3); distances (B, N, 6) [scale]; confidences
    (B, N, 6) >= 0, which get
    no gradient: a vote shall not leave the fit to please the pose; rotation (B, 3, 3), offset (B, 3): the true pose.
    """
    votes = points[:, :, None] + normals * distances[..., None]
    votes = torch.einsum("bnfi,bij->bnfj", votes - offset[:, None, None], rotation)
    share = confidences.detach() + 1e-6  # all zero: equal shares
    share = (share / share.sum(1, keepdim=True))[..., None]
    face, along = torch.arange(6), torch.tensor(AXES)
    first, second = (along + 1) % 3, (along + 2) % 3
    mean = (votes * share).sum(1)  # (B, 6, 3)
    centred = votes - mean[:, None]
    moments = torch.einsum("bnfi,bnfj->bfij", centred * share, centred)
    uu, vv, uv = moments[:, face, first, first], moments[:, face, second, second], moments[:, face, first, second]
    hu, hv = moments[:, face, along, first], moments[:, face, along, second]
    ridge = SLOPE_RIDGE * (1 + uu + vv)
    uu, vv = uu + ridge, vv + ridge
    determinant = uu * vv - uv.square()
    a, b = (hu * vv - hv * uv) / determinant, (hv * uu - hu * uv) / determinant
    basis = torch.eye(3, dtype=points.dtype, device=points.device)
    normal = basis[along] - a[..., None] * basis[first] - b[..., None] * basis[second]
    # at least as long as its 1 along the axis
    normal = normal / normal.norm(dim=-1, keepdim=True) * points.new_tensor(SIGNS)[:, None]
    distance = (normal * mean).sum(-1)
    normal = torch.einsum("bij,bfj->bfi", rotation, normal)
    return Planes(normal, distance + torch.einsum("bfi,bi->bf", normal, offset))


def vote_plane_loss(fitted: Planes, true: Planes, camera: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """L1 [m] between the feet of the camera, camera (B, 3) [scale], on the fitted and on the true planes (GPV-Pose: dn
    against its ground truth).
    """
    feet, true_feet = (planes.normal * centre_distances(planes, camera)[..., None] for planes in (fitted, true))
    return (absolute(feet, true_feet) * weights).mean(-1) * scale


def vote_rotation_loss(fitted: Planes, rotation: Tensor, weights: Tensor) -> Tensor:
    """L1 between the fitted normals and the axes of the predicted R_network_object (B, 3, 3)."""
    return (absolute(fitted.normal, face_normals(rotation)) * weights).mean(-1)


def centre_distances(planes: Planes, offset: Tensor) -> Tensor:
    """Distance (B, 6) [scale] of each plane from a point (B, 3), along the plane's normal.

    Signed, unlike GPV-Pose's: a predicted centre outside the box is not half right.
    """
    return planes.distance - torch.einsum("bfi,bi->bf", planes.normal, offset)


def vote_offset_loss(fitted: Planes, offset: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """|d+ - d-| [m] of the predicted centre from opposite faces; three differences, a sixth each."""
    distance = centre_distances(fitted, offset)
    return ((distance[:, PLUS] - distance[:, MINUS]).abs() * weights[:, PLUS]).sum(-1) / 6 * scale


def vote_size_loss(fitted: Planes, offset: Tensor, size: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """|s / 2 - d| [m] of the predicted size (B, 3) [m] and the distance of each face from the predicted centre."""
    return ((size[:, AXES] / 2 - centre_distances(fitted, offset) * scale[:, None]).abs() * weights).mean(-1)


def vote_self_loss(fitted: Planes, weights: Tensor) -> Tensor:
    """A box's own consistency: opposite normals are opposite (L1 of n+ + n-), x and z faces perpendicular to y faces
    (|n · n_y|); a sixth each.
    """
    plus, minus = fitted.normal[:, PLUS], fitted.normal[:, MINUS]
    parallel = absolute(plus, -minus)
    upright = (plus * plus[:, 1:2]).sum(-1).abs() + (minus * minus[:, 1:2]).sum(-1).abs()
    off_y = upright.new_tensor([1.0, 0.0, 1.0])
    return ((parallel + upright * off_y) * weights[:, PLUS]).sum(-1) / 6
