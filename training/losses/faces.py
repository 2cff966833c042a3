"""Box faces as every point votes for them (GPV-Pose): normals, distances, confidences, and planes fitted to them.

Faces come in the order y+, x+, z+, x-, z-, y-; normals point outwards. A plane is the set of p with normal · p =
distance, in the network frame [scale]. The terms measure lengths in metres, as the papers do: their weights and the
303.5 / m² of the confidence are made for metres. Every term is (B,): the mean over six faces, each times its
`face_weights`, so that what symmetry hides adds 0. GPV-Pose also leaves out the x faces of mugs, whose origin its data
put on the axis of the body; here it is the centre of the box.
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
    """Planes of the faces of boxes.

    Parameters
    ----------
    normal : (B, 6, 3) float
        Unit, outwards, network frame.
    distance : (B, 6) float
        From the origin of the network frame [scale]; negative where the face lies behind it.
    """

    normal: Tensor
    distance: Tensor


def face_weights(x_weight: Tensor) -> Tensor:
    """Say which faces exist where x is unknown.

    Parameters
    ----------
    x_weight : (B,) float
        Of the x axis.

    Returns
    -------
    (B, 6) float
        1 for the y faces, `x_weight` for the others.
    """
    along_y = torch.tensor(AXES, device=x_weight.device) == 1
    return torch.where(along_y, 1.0, x_weight[:, None])


def face_normals(rotation: Tensor) -> Tensor:
    """Give the outward normals of a box.

    Parameters
    ----------
    rotation : (B, 3, 3) float
        R_network_object.

    Returns
    -------
    (B, 6, 3) float
        Network frame.
    """
    return rotation.transpose(1, 2)[:, AXES] * rotation.new_tensor(SIGNS)[:, None]


def box_planes(normals: Tensor, offset: Tensor, half_size: Tensor) -> Planes:
    """Give the planes of a box.

    Parameters
    ----------
    normals : (B, 6, 3) float
        Outwards.
    offset : (B, 3) float
        Centre [scale].
    half_size : (B, 3) float
        Half extents along x, y, z [scale].

    Returns
    -------
    Planes
        Of its faces.
    """
    return Planes(normals, half_size[:, AXES] + torch.einsum("bfi,bi->bf", normals, offset))


def face_distances(points: Tensor, planes: Planes) -> Tensor:
    """Measure the distance of points from each plane along its outward normal.

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    planes : Planes
        Of the faces.

    Returns
    -------
    (B, N, 6) float
        [scale]; negative outside the box.
    """
    return planes.distance[:, None] - torch.einsum("bni,bfi->bnf", points, planes.normal)


def normal_loss(normals: Tensor, planes: Planes, weights: Tensor) -> Tensor:
    """Compute 1 - n̂ · n of the voted normals (GPV-Pose, weight 3).

    Parameters
    ----------
    normals : (B, N, 6, 3) float
        Voted, unit.
    planes : Planes
        True.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over points and faces.
    """
    error = 1 - torch.einsum("bnfi,bfi->bnf", normals, planes.normal)
    return (error.mean(1) * weights).mean(-1)


def distance_loss(distances: Tensor, true: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Compute |d̂ - d| of the voted distances (GPV-Pose, weight 3).

    Parameters
    ----------
    distances, true : (B, N, 6) float
        Voted and true [scale].
    scale : (B,) float
        Metres per network unit.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over points and faces [m].
    """
    return ((distances - true).abs().mean(1) * weights).mean(-1) * scale


def face_confidence_target(normals: Tensor, distances: Tensor, planes: Planes, true: Tensor, scale: Tensor) -> Tensor:
    """Compute the confidence that a vote deserves: exp(-303.5 d²), 0.97 at 1 cm and 0.47 at 5 cm (GPV-Pose).

    d = ‖n̂ d̂ - n d‖ is how far the vote falls from the foot of its point on the face. The gradient goes on to the
    votes.

    Parameters
    ----------
    normals : (B, N, 6, 3) float
        Voted, unit.
    distances : (B, N, 6) float
        Voted [scale].
    planes : Planes
        True.
    true : (B, N, 6) float
        True distances [scale].
    scale : (B,) float
        Metres per network unit.

    Returns
    -------
    (B, N, 6) float
        0 to 1.
    """
    miss = normals * distances[..., None] - planes.normal[:, None] * true[..., None]
    return torch.exp(-303.5 * miss.square().sum(-1) * scale[:, None, None].square())


def face_confidence_loss(confidences: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Compute |ĉ - c| (GPV-Pose, weight 1).

    Parameters
    ----------
    confidences, target : (B, N, 6) float
        Voted, and deserved.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over points and faces.
    """
    return ((confidences - target).abs().mean(1) * weights).mean(-1)


def fitted_planes(
    points: Tensor, normals: Tensor, distances: Tensor, confidences: Tensor, rotation: Tensor, offset: Tensor
) -> Planes:
    """Fit the plane of each face to the points' votes p + n̂ d̂, by least squares under their confidences (GPV-Pose).

    With h the coordinate of a vote along the axis of its face in the true object frame and u, v the other two, it
    minimises Σ c (h - a u - b v - h0)². GPV-Pose regresses z of the camera frame, which is singular for planes along
    the line of sight; heights above the true face never are, and the outward side needs no guess.

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    normals : (B, N, 6, 3) float
        Voted, unit.
    distances : (B, N, 6) float
        Voted [scale].
    confidences : (B, N, 6) float
        At least 0. They get no gradient: a vote shall not leave the fit to please the pose.
    rotation : (B, 3, 3) float
        True R_network_object.
    offset : (B, 3) float
        True centre [scale].

    Returns
    -------
    Planes
        Of the faces.
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
    """Compare the feet of the camera on the fitted and on the true planes by L1 (GPV-Pose: dn against dn_gt).

    Parameters
    ----------
    fitted, true : Planes
        Of the faces.
    camera : (B, 3) float
        Place of the camera, network frame [scale].
    scale : (B,) float
        Metres per network unit.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over faces [m].
    """
    feet, true_feet = (planes.normal * centre_distances(planes, camera)[..., None] for planes in (fitted, true))
    return (absolute(feet, true_feet) * weights).mean(-1) * scale


def vote_rotation_loss(fitted: Planes, rotation: Tensor, weights: Tensor) -> Tensor:
    """Compare the fitted normals with the axes of the predicted rotation by L1.

    Parameters
    ----------
    fitted : Planes
        Of the faces.
    rotation : (B, 3, 3) float
        Predicted R_network_object.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over faces.
    """
    return (absolute(fitted.normal, face_normals(rotation)) * weights).mean(-1)


def centre_distances(planes: Planes, offset: Tensor) -> Tensor:
    """Measure the distance of each plane from a point, along the plane's normal.

    It has a sign, unlike GPV-Pose's: a predicted centre outside the box is not half right.

    Parameters
    ----------
    planes : Planes
        Of the faces.
    offset : (B, 3) float
        The point, network frame [scale].

    Returns
    -------
    (B, 6) float
        [scale].
    """
    return planes.distance - torch.einsum("bfi,bi->bf", planes.normal, offset)


def vote_offset_loss(fitted: Planes, offset: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Compute |d+ - d-| of the predicted centre from opposite faces; three differences, a sixth each.

    Parameters
    ----------
    fitted : Planes
        Of the faces.
    offset : (B, 3) float
        Predicted centre [scale].
    scale : (B,) float
        Metres per network unit.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        [m].
    """
    distance = centre_distances(fitted, offset)
    return ((distance[:, PLUS] - distance[:, MINUS]).abs() * weights[:, PLUS]).sum(-1) / 6 * scale


def vote_size_loss(fitted: Planes, offset: Tensor, size: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Compute |s / 2 - d| of the predicted size and the distance of each face from the predicted centre.

    Parameters
    ----------
    fitted : Planes
        Of the faces.
    offset : (B, 3) float
        Predicted centre [scale].
    size : (B, 3) float
        Predicted [m].
    scale : (B,) float
        Metres per network unit.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        Mean over faces [m].
    """
    return ((size[:, AXES] / 2 - centre_distances(fitted, offset) * scale[:, None]).abs() * weights).mean(-1)


def vote_self_loss(fitted: Planes, weights: Tensor) -> Tensor:
    """Compute how far a box is from being one.

    Opposite normals shall be opposite (L1 of n+ + n-), and x and z faces perpendicular to y faces (|n · n_y|); a sixth
    each.

    Parameters
    ----------
    fitted : Planes
        Of the faces.
    weights : (B, 6) float
        Of the faces.

    Returns
    -------
    (B,) float
        0 for a box.
    """
    plus, minus = fitted.normal[:, PLUS], fitted.normal[:, MINUS]
    parallel = absolute(plus, -minus)
    upright = (plus * plus[:, 1:2]).sum(-1).abs() + (minus * minus[:, 1:2]).sum(-1).abs()
    off_y = upright.new_tensor([1.0, 0.0, 1.0])
    return ((parallel + upright * off_y) * weights[:, PLUS]).sum(-1) / 6
