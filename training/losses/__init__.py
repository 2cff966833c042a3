"""Training losses: small pure functions, and their weighted sum.

Directions are unit vectors; lengths are in network units unless said. Three families stand side by side. The compact
network's terms (the defaults of `LossWeights`) measure lengths in network units. Those of CLIPose and GPV-Pose
(`LossWeights.clipose()`) and of CleanPose (`LossWeights.cleanpose()`) measure them in metres, as the published weights
expect. Compute them outside of autocast:
exp(-303.5 d²) and the plane fits need float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses import faces, keypoints, points
from training.losses.directions import absolute, chord, confidence_target, cosine, skew, weighted_mean
from training.losses.rotation import predicted_rotation, unit

__all__ = ["LossWeights", "chord", "confidence_target", "pose_losses", "weighted_mean"]


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term of `pose_losses`. 0: it is not computed.

    Parameters
    ----------
    y_axis, x_axis : float
        Chords of the directions.
    hypotheses : float
        Chords of all hypotheses, so that none is left behind. The terms above are of the nearest one alone.
    perpendicular : float
        |y · x|.
    offset, size, confidence : float
        Centre, extents, and the squared error of the directions' confidences.
    coordinates, foreground : float
        Object coordinates and foreground of the patch centres.
    y_axis_l1, x_axis_l1, y_axis_cosine, x_axis_cosine : float
        Directions (CLIPose eq. 9, GPV-Pose).
    offset_l1, size_l1 : float
        Centre and extents [m] (CLIPose eqs. 10 and 11).
    confidence_l1 : float
        Confidences of the directions (GPV-Pose).
    face_normals, face_distances, face_confidences : float
        What each point votes for the faces of the box.
    vote_plane, vote_rotation, vote_offset, vote_size, vote_self : float
        How the planes fitted to the votes agree with the truth, with the predicted pose and with one another.
    projection, point_matching : float
        The cloud under the predicted pose.
    reconstruction, reconstruction_pose : float
        Its symmetric reconstruction under the true pose (CLIPose eq. 13) and under the predicted one.
    coordinate_distances : float
        Rigidity of predicted coordinates, beyond the papers.
    rotation_columns, offset_norm, size_norm : float
        The pose as a whole (CleanPose eq. 21): columns of the rotation, centre and extents [m].
    keypoint_chamfer, keypoint_diversity, keypoint_coordinates : float
        Keypoints on the object, apart from one another, and where they are on it (CleanPose eqs. 23-27).
    rebuilt, rebuilt_offsets : float
        The object rebuilt from its keypoints, and how far from these (AG-Pose's code).
    smooth_beta : float
        No weight: where the *_l1 terms turn from square to linear (GPV-Pose's smooth L1 has 0.5). 0 is L1.
    """

    y_axis: float = 2.0
    x_axis: float = 2.0
    hypotheses: float = 0.1
    perpendicular: float = 0.25
    offset: float = 6.0
    size: float = 3.0
    confidence: float = 1.0
    coordinates: float = 4.0
    foreground: float = 0.25
    y_axis_l1: float = 0.0
    x_axis_l1: float = 0.0
    y_axis_cosine: float = 0.0
    x_axis_cosine: float = 0.0
    offset_l1: float = 0.0
    size_l1: float = 0.0
    confidence_l1: float = 0.0
    face_normals: float = 0.0
    face_distances: float = 0.0
    face_confidences: float = 0.0
    vote_plane: float = 0.0
    vote_rotation: float = 0.0
    vote_offset: float = 0.0
    vote_size: float = 0.0
    vote_self: float = 0.0
    projection: float = 0.0
    point_matching: float = 0.0
    reconstruction: float = 0.0
    reconstruction_pose: float = 0.0
    coordinate_distances: float = 0.0
    rotation_columns: float = 0.0
    offset_norm: float = 0.0
    size_norm: float = 0.0
    keypoint_chamfer: float = 1.0
    keypoint_diversity: float = 0.25
    keypoint_coordinates: float = 2.0
    rebuilt: float = 0.0
    rebuilt_offsets: float = 0.0
    smooth_beta: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) >= 0:
                raise ValueError(f"{item.name}: expected a number >= 0, got {getattr(self, item.name)}")

    @classmethod
    def clipose(cls) -> LossWeights:
        """Give the weights of GPV-Pose's published training, which CLIPose keeps (section IV, implementation details).

        Returns
        -------
        LossWeights
            Of the paper.
        """
        return cls(
            **dict.fromkeys(("y_axis", "x_axis", "hypotheses", "offset", "size", "confidence"), 0.0),
            **dict.fromkeys(("coordinates", "foreground"), 0.0),
            **dict.fromkeys(("keypoint_chamfer", "keypoint_diversity", "keypoint_coordinates"), 0.0),
            **dict.fromkeys(("y_axis_l1", "x_axis_l1", "y_axis_cosine", "x_axis_cosine", "offset_l1", "size_l1"), 8.0),
            perpendicular=4.0,
            confidence_l1=1.0,
            face_normals=3.0,
            face_distances=3.0,
            face_confidences=1.0,
            **dict.fromkeys(("vote_plane", "vote_rotation", "vote_offset", "vote_size", "vote_self"), 1.0),
            projection=1.0,
            point_matching=2.0,
            reconstruction=1.0,
            reconstruction_pose=1.0,
        )

    @classmethod
    def cleanpose(cls, of: Literal["paper", "code"] = "paper") -> LossWeights:
        """Give the weights of CleanPose.

        Parameters
        ----------
        of : "paper" or "code"
            λ of equation 28, which knows no rebuilding, or the published configuration.

        Returns
        -------
        LossWeights
            With our own term of the confidence, which changes nothing else.
        """
        mine = ("y_axis", "x_axis", "hypotheses", "perpendicular", "offset", "size", "coordinates", "foreground")
        pose = dict.fromkeys(("rotation_columns", "offset_norm", "size_norm"), 0.3)
        if of == "paper":
            others = {"keypoint_chamfer": 1.0, "keypoint_diversity": 5.0, "keypoint_coordinates": 1.0}
        else:
            others = {"keypoint_chamfer": 2.0, "keypoint_diversity": 10.0, "keypoint_coordinates": 2.0}
            others |= {"rebuilt": 15.0, "rebuilt_offsets": 1.0}
        return cls(**dict.fromkeys(mine, 0.0), **pose, **others)


class Comparison:
    """A prediction beside the truth, and what several terms share, computed once and only where a term asks for it.

    Parameters
    ----------
    output : dict of Tensor
        What a network says.
    truth : dict of Tensor
        As for `pose_losses`.
    weights : LossWeights
        Whose `smooth_beta` counts.
    """

    def __init__(self, output: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights) -> None:
        self.output, self.truth, self.beta = output, truth, weights.smooth_beta
        self.scale, self.x_weight = truth["scale"], truth["x_weight"]
        self.asymmetric = (self.x_weight > 0).float()
        if "y_axes" in output:  # the nearest hypothesis learns
            nearest = self.both_errors.argmin(1)[:, None, None].expand(-1, -1, 3)
            axes = {f"{axis}_axis": output[f"{axis}_axes"].gather(1, nearest)[:, 0] for axis in "yx"}
            self.output = output | axes

    @cached_property
    def y_error(self) -> Tensor:
        """Chord of the y axes (B,)."""
        return chord(self.output["y_axis"], self.truth["y_axis"])

    @cached_property
    def x_error(self) -> Tensor:
        """Chord of the x axes (B,)."""
        return chord(self.output["x_axis"], self.truth["x_axis"])

    @cached_property
    def errors(self) -> tuple[Tensor, Tensor]:
        """Chords of the y and of the x axes of all hypotheses (B, K)."""
        return tuple(chord(self.output[f"{axis}_axes"], self.truth[f"{axis}_axis"][:, None]) for axis in "yx")

    @cached_property
    def both_errors(self) -> Tensor:
        """Sum of the two chords of each hypothesis (B, K), the x axis as far as it means something."""
        y_error, x_error = self.errors
        return y_error + self.x_weight[:, None] * x_error

    @cached_property
    def rotation(self) -> Tensor:
        """Calibrated R_network_object of the prediction (B, 3, 3)."""
        return predicted_rotation(
            self.output["y_axis"],
            self.output["x_axis"],
            self.output["confidence"],
            self.truth["rotation"],
            self.x_weight,
        )

    @cached_property
    def true_rotation(self) -> Tensor:
        """R_network_object (B, 3, 3) for terms of CleanPose: where a whole rotation is predicted, AG-Pose's canonical
        one of axis-symmetric objects; else the one that faces the camera.
        """
        rotation = self.truth["rotation"]
        if "rotation" not in self.output:
            return rotation
        return keypoints.canonical_about_y(rotation, self.truth["category"])

    @cached_property
    def labelled_points(self) -> Tensor:
        """Points (B, P, 3) [scale] of which the truth says whether they are the object's."""
        cloud = self.truth["points"]
        return cloud[:, :: cloud.shape[1] // self.truth["foreground"].shape[1]]

    @cached_property
    def canonical(self) -> Tensor:
        """The cloud in the true object frame (B, N, 3) [scale]."""
        return points.object_points(self.truth["points"], self.truth["offset"], self.truth["rotation"])

    @cached_property
    def face_weights(self) -> Tensor:
        """Which faces exist (B, 6)."""
        return faces.face_weights(self.x_weight)

    @cached_property
    def true_planes(self) -> faces.Planes:
        """Planes of the true box."""
        half_size = self.truth["size"] / (2 * self.scale[:, None])
        return faces.box_planes(faces.face_normals(self.truth["rotation"]), self.truth["offset"], half_size)

    @cached_property
    def true_distances(self) -> Tensor:
        """Distance of each point from each true plane (B, N, 6) [scale]."""
        return faces.face_distances(self.truth["points"], self.true_planes)

    @cached_property
    def fitted_planes(self) -> faces.Planes:
        """Planes fitted to the votes."""
        o, t = self.output, self.truth
        return faces.fitted_planes(
            t["points"], o["face_normals"], o["face_distances"], o["face_confidences"], t["rotation"], t["offset"]
        )


def _compact_confidence(c: Comparison) -> Tensor:
    """Squared, so that a confidence is the *expected* target; the papers' L1 gives its median: 0 wherever more than
    half fail.
    """
    if "confidences" not in c.output:
        confidence, y_error, x_error = c.output["confidence"], c.y_error, c.x_error
    else:  # each hypothesis says how likely it is right
        y_error, x_error = c.errors
        confidence = c.output["confidences"]
    y = (confidence[..., 0] - confidence_target(y_error.detach())).square()
    x = (confidence[..., 1] - confidence_target(x_error.detach())).square()
    if y.ndim > 1:
        y, x = y.mean(1), x.mean(1)
    return y.mean() + weighted_mean(x, c.asymmetric)


def _published_offset(c: Comparison) -> Tensor:
    """L1 of the translation [m] (CLIPose eq. 10)."""
    unit_m = c.scale[:, None]
    return absolute(c.output["offset"] * unit_m, c.truth["offset"] * unit_m, c.beta).mean()


def _published_confidence(c: Comparison) -> Tensor:
    """|c - exp(-13.7 ‖Δ‖²)| of both directions, means over all objects. The target has a gradient, too (GPV)."""
    error = (c.output["confidence"] - confidence_target(torch.stack([c.y_error, c.x_error], dim=-1))).abs()
    return error[:, 0].mean() + (error[:, 1] * c.asymmetric).mean()


def _coordinates(c: Comparison) -> Tensor:
    error = F.smooth_l1_loss(c.output["coordinates"], c.truth["coordinates"], beta=0.05, reduction="none").sum(-1)
    return (error * c.truth["foreground"]).sum() / c.truth["foreground"].sum().clamp(min=1)


def _face_confidences(c: Comparison) -> Tensor:
    o = c.output
    target = faces.face_confidence_target(
        o["face_normals"], o["face_distances"], c.true_planes, c.true_distances, c.scale
    )
    return faces.face_confidence_loss(o["face_confidences"], target, c.face_weights).mean()


def _projection(c: Comparison) -> Tensor:
    o, cloud = c.output, c.truth["points"]
    y = points.projection_loss(cloud, o["offset"], o["y_axis"], c.canonical[..., 1], c.scale)
    x = points.projection_loss(cloud, o["offset"], o["x_axis"], c.canonical[..., 0], c.scale)
    return y.mean() + weighted_mean(x, c.x_weight)


def _reconstruction(c: Comparison) -> Tensor:
    t = c.truth
    target = points.counterpart(t["points"], t["rotation"][:, :, 1], t["rotation"][:, :, 2], t["offset"], t["category"])
    error = points.reconstruction_loss(c.output["reconstruction"], target, c.scale)
    return (error * points.mirror_known(t["category"], c.x_weight)).mean()


def _reconstruction_pose(c: Comparison) -> Tensor:
    o, t = c.output, c.truth
    z_axis = unit(torch.linalg.cross(o["x_axis"], o["y_axis"]))
    target = points.counterpart(t["points"], o["y_axis"], z_axis, o["offset"], t["category"])
    error = points.reconstruction_loss(o["reconstruction"], target, c.scale)
    return (error * (points.mirror_known(t["category"], c.x_weight) & points.has_counterpart(t["category"]))).mean()


def _keypoint_coordinates(c: Comparison) -> Tensor:
    o, t = c.output, c.truth
    true = keypoints.keypoint_coordinates(o["keypoints"], t["offset"], c.true_rotation, t["size"], c.scale)
    return keypoints.coordinate_loss(o["keypoint_coordinates"], true).mean()


class Term(NamedTuple):
    """A term of the loss.

    Parameters
    ----------
    output : tuple of str
        What it needs of a prediction. Without it the term is left out.
    truth : tuple of str
        What it needs beyond `POSE`. Without it the truth is refused.
    value : callable
        Gives the term (), not weighted, of a `Comparison`.
    """

    output: tuple[str, ...]
    truth: tuple[str, ...]
    value: Callable[[Comparison], Tensor]


POSE = ("y_axis", "x_axis", "x_weight", "offset", "size", "scale")
VOTES = (("face_normals", "face_distances", "face_confidences"), ("rotation", "points"))

TERMS = {
    "y_axis": Term(("y_axis",), (), lambda c: c.y_error.mean()),
    "x_axis": Term(("x_axis",), (), lambda c: weighted_mean(c.x_error, c.x_weight)),
    "hypotheses": Term(("y_axes", "x_axes"), (), lambda c: c.both_errors.mean()),
    "perpendicular": Term(
        ("y_axis", "x_axis"), (), lambda c: weighted_mean(skew(c.output["y_axis"], c.output["x_axis"]), c.asymmetric)
    ),
    "offset": Term(
        ("offset",), (), lambda c: ((c.output["offset"] - c.truth["offset"]).square().sum(-1) + 1e-8).sqrt().mean()
    ),
    "size": Term(("size",), (), lambda c: ((c.output["size"] - c.truth["size"]).abs().sum(-1) / c.scale).mean()),
    "confidence": Term(("confidence",), (), _compact_confidence),
    "coordinates": Term(("coordinates",), ("coordinates", "foreground"), _coordinates),
    "foreground": Term(
        ("foreground",),
        ("foreground",),
        lambda c: F.binary_cross_entropy_with_logits(c.output["foreground"], c.truth["foreground"]),
    ),
    "y_axis_l1": Term(("y_axis",), (), lambda c: absolute(c.output["y_axis"], c.truth["y_axis"], c.beta).mean()),
    "x_axis_l1": Term(
        ("x_axis",), (), lambda c: weighted_mean(absolute(c.output["x_axis"], c.truth["x_axis"], c.beta), c.x_weight)
    ),
    "y_axis_cosine": Term(("y_axis",), (), lambda c: cosine(c.output["y_axis"], c.truth["y_axis"]).mean()),
    "x_axis_cosine": Term(
        ("x_axis",), (), lambda c: weighted_mean(cosine(c.output["x_axis"], c.truth["x_axis"]), c.x_weight)
    ),
    "offset_l1": Term(("offset",), (), _published_offset),
    "size_l1": Term(("size",), (), lambda c: absolute(c.output["size"], c.truth["size"], c.beta).mean()),
    "confidence_l1": Term(("confidence",), (), _published_confidence),
    "face_normals": Term(
        *VOTES, lambda c: faces.normal_loss(c.output["face_normals"], c.true_planes, c.face_weights).mean()
    ),
    "face_distances": Term(
        *VOTES,
        lambda c: faces.distance_loss(c.output["face_distances"], c.true_distances, c.scale, c.face_weights).mean(),
    ),
    "face_confidences": Term(*VOTES, _face_confidences),
    "vote_plane": Term(
        VOTES[0],
        (*VOTES[1], "camera"),
        lambda c: faces.vote_plane_loss(
            c.fitted_planes, c.true_planes, c.truth["camera"], c.scale, c.face_weights
        ).mean(),
    ),
    "vote_rotation": Term(
        *VOTES, lambda c: faces.vote_rotation_loss(c.fitted_planes, c.rotation, c.face_weights).mean()
    ),
    "vote_offset": Term(
        *VOTES, lambda c: faces.vote_offset_loss(c.fitted_planes, c.output["offset"], c.scale, c.face_weights).mean()
    ),
    "vote_size": Term(
        *VOTES,
        lambda c: faces.vote_size_loss(
            c.fitted_planes, c.output["offset"], c.output["size"], c.scale, c.face_weights
        ).mean(),
    ),
    "vote_self": Term(*VOTES, lambda c: faces.vote_self_loss(c.fitted_planes, c.face_weights).mean()),
    "projection": Term(("y_axis", "x_axis", "offset"), ("rotation", "points"), _projection),
    "point_matching": Term(
        ("y_axis", "x_axis", "confidence", "offset"),
        ("rotation", "points"),
        lambda c: points.point_matching_loss(
            c.truth["points"], c.output["offset"], c.rotation, c.canonical, c.scale
        ).mean(),
    ),
    "reconstruction": Term(("reconstruction",), ("rotation", "points", "category"), _reconstruction),
    "reconstruction_pose": Term(("reconstruction",), ("points", "category"), _reconstruction_pose),
    "coordinate_distances": Term(
        ("coordinates",),
        ("coordinates", "foreground"),
        lambda c: points.coordinate_distance_loss(
            c.output["coordinates"], c.truth["coordinates"], c.truth["foreground"]
        ),
    ),
    "rotation_columns": Term(
        ("rotation",),
        ("rotation", "category"),
        lambda c: keypoints.columns_loss(c.output["rotation"], c.true_rotation).mean(),
    ),
    "offset_norm": Term(
        ("offset",), (), lambda c: ((c.output["offset"] - c.truth["offset"]).norm(dim=-1) * c.scale).mean()
    ),
    "size_norm": Term(("size",), (), lambda c: (c.output["size"] - c.truth["size"]).norm(dim=-1).mean()),
    "keypoint_chamfer": Term(
        ("keypoints",),
        ("points", "foreground"),
        lambda c: keypoints.chamfer_loss(
            c.output["keypoints"], c.labelled_points, c.truth["foreground"], c.scale
        ).mean(),
    ),
    "keypoint_diversity": Term(
        ("keypoints",), (), lambda c: keypoints.diversity_loss(c.output["keypoints"], c.scale).mean()
    ),
    "keypoint_coordinates": Term(
        ("keypoints", "keypoint_coordinates"), ("rotation", "category"), _keypoint_coordinates
    ),
    "rebuilt": Term(
        ("rebuilt",),
        ("points", "foreground"),
        lambda c: keypoints.rebuilding_loss(
            c.output["rebuilt"], c.labelled_points, c.truth["foreground"], c.scale
        ).mean(),
    ),
    "rebuilt_offsets": Term(
        ("rebuilt_offsets",),
        (),
        lambda c: (c.output["rebuilt_offsets"].norm(dim=-1) * c.scale[:, None]).mean(),
    ),
}


def pose_losses(
    output: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights = LossWeights()
) -> dict[str, Tensor]:
    """Compute every term that has a weight and that the network's output has a say in, and their sum.

    Parameters
    ----------
    output : dict of Tensor
        As networks give it.
    truth : dict of Tensor
        y_axis, x_axis (B, 3), network frame; x_weight (B,), 0 for axis-symmetric objects and small where nothing
        visible tells x; offset (B, 3); scale (B,), metres per network unit; size (B, 3) [m]. Where a term needs them
        also coordinates (B, P, 3), foreground (B, P) float, points (B, N, 3), rotation (B, 3, 3) R_network_object,
        category (B,) and camera (B, 3), the camera's place in the network frame.
    weights : LossWeights
        Of the terms.

    Returns
    -------
    dict of Tensor
        Weighted, and the sum as "total".

    Raises
    ------
    ValueError
        Where the truth of a term is missing, or where no term is left.
    """
    missing = [key for key in POSE if key not in truth]
    if missing:
        raise ValueError(f"truth: expected {', '.join(missing)}, got {', '.join(sorted(truth))}")
    comparison = Comparison(output, truth, weights)
    terms = {}
    for name, term in TERMS.items():
        weight = getattr(weights, name)
        if weight == 0 or not output.keys() >= set(term.output):
            continue
        missing = [key for key in term.truth if key not in truth]
        if missing:
            raise ValueError(
                f"truth: expected {', '.join(missing)} for the term {name}, got {', '.join(sorted(truth))}"
            )
        terms[name] = weight * term.value(comparison)
    if not terms:
        raise ValueError(f"weights: expected at least one term of {', '.join(sorted(output))}, got none")
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms
