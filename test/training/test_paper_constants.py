"""The paper's numbers beside the defaults of `training.clipose`: one literal table.

Each entry says where the number comes from: a section, an equation or a table of CLIPose, or the
published code of GPV-Pose or HS-Pose, whose terms, encoder and schedule the paper takes over (section IV,
implementation details). A change of any default, or a setting that is new, fails here.
"""

import dataclasses
import math

import torch
from torch import nn

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES, MEAN_SIZES
from training import clipose
from training.alignment import descriptions, images
from training.alignment.branch import AlignmentConfig
from training.losses import LossWeights, confidence_target, faces
from training.losses.points import MIRRORED
from training.networks import HSEncoderConfig
from training.networks.clipose import FACES, Clipose
from training.networks.hs_encoder import POOLING, HSEncoder
from training.optimisation.optimisers import make_optimiser
from training.reproduce import PAPER_REAL275
from training.train import plain_settings

IMPLEMENTATION = "section IV, implementation details"
GPV, HS = "GPV-Pose's code", "HS-Pose's code"
NONE = "the paper has no such term"

SETTINGS = {
    # the branch of CLIP
    "alignment.clip": ("openai/clip-vit-base-patch16", "section III-C: 196 patches of 224 px"),
    "alignment.point_image": (1.0, "equation 4: α"),
    "alignment.point_text": (1.0, "equation 4: β"),
    "alignment.image_text": (0.0, "equation 4: λ"),
    "alignment.image_category": (1.0, "equation 14"),
    "alignment.temperature": (0.07, f"{IMPLEMENTATION}; table VIII, row 1"),
    "alignment.category_temperature": (1.0, "equation 5 has none"),
    "alignment.class_aware": (False, "section III-B: the truth is the identity"),
    "alignment.text_pose": ("true", "section III-A; table IX, row 0"),
    "alignment.joint_text": (False, "section III-C; table V, row 0"),
    "alignment.prompts.length": (10, "section III-C; table IV, row 0"),
    "alignment.prompts.position": ("prepend", "equation 6; table IV, row 0"),
    "alignment.prompts.layers": ([1, 1], "section IV-B 2; table V, row 0"),
    "alignment.prompts.projection": (True, "section III-C: prompts and projection layer are trained"),
    # the network
    "network.kind": ("clipose", "section III-D"),
    "network.encoder.points": (1024, IMPLEMENTATION),
    "network.encoder.channels": ([128, 128, 256, 256, 512], f"{IMPLEMENTATION}: [1024, 1280]; {HS}"),
    "network.encoder.neighbours": (None, f"{HS}: 20 (tested below)"),
    "network.encoder.supports": (7, HS),
    "network.encoder.aggregate": (None, f"{HS}: the mean (tested below)"),
    "network.encoder.hybrid": (True, f"{IMPLEMENTATION}; table VII"),
    "network.hidden": ([1024, 256], GPV),
    "network.dense": (512, GPV),
    "network.dropout": (0.2, GPV),
    "network.one_hot": (False, "table III, D0"),
    "network.fusion.manner": ("none", "table VI, row 0"),
    "network.fusion.feature": ("image", "table VI, row 0: none is fused"),
    "network.fusion.width": (512, f"{IMPLEMENTATION}: [1, 512]"),
    # clouds
    "batches.points": (1024, IMPLEMENTATION),
    "batches.scale_jitter": (0.0, NONE),
    "batches.hidden_weight": (0.0, f"{GPV}: a mug without its handle is axis-symmetric"),
    "batches.simulate": (False, NONE),
    "batches.ground.known": (0.0, NONE),
    "batches.prior.given": (False, NONE),
    "batches.mask_noise": (0.5, GPV),
    "batches.augmentation.mirrored": (0.0, NONE),
    "batches.augmentation.box_scale": (0.3, GPV),
    "batches.augmentation.box_factor": ([0.8, 1.2], GPV),
    "batches.augmentation.taper": (0.3, GPV),
    "batches.augmentation.taper_factor": ([0.8, 1.2], GPV),
    "batches.augmentation.rigid": (0.3, GPV),
    "batches.augmentation.rigid_m": (0.05, GPV),
    "batches.augmentation.rigid_deg": (15.0, GPV),
    "batches.augmentation.noise": (0.2, f"{IMPLEMENTATION}: uniform; share of {GPV}"),
    "batches.augmentation.noise_range": ([-0.1, 0.1], f"{HS}: as wide, but from 0 (docs/paper_deviations.md)"),
    # losses
    "weights.y_axis_l1": (8.0, f"equation 9; {GPV}"),
    "weights.x_axis_l1": (8.0, f"equation 9; {GPV}"),
    "weights.y_axis_cosine": (8.0, GPV),
    "weights.x_axis_cosine": (8.0, GPV),
    "weights.perpendicular": (4.0, GPV),
    "weights.offset_l1": (8.0, f"equation 10; {GPV}"),
    "weights.size_l1": (8.0, f"equation 11; {GPV}"),
    "weights.confidence_l1": (1.0, GPV),
    "weights.face_normals": (3.0, GPV),
    "weights.face_distances": (3.0, GPV),
    "weights.face_confidences": (1.0, GPV),
    "weights.vote_plane": (1.0, GPV),
    "weights.vote_rotation": (1.0, GPV),
    "weights.vote_offset": (1.0, GPV),
    "weights.vote_size": (1.0, GPV),
    "weights.vote_self": (1.0, GPV),
    "weights.projection": (1.0, GPV),
    "weights.point_matching": (2.0, GPV),
    "weights.reconstruction": (1.0, f"equation 13; {GPV}"),
    "weights.reconstruction_pose": (1.0, GPV),
    "weights.smooth_beta": (0.0, "equations 9 to 11: L1"),
    "weights.y_axis": (0.0, NONE),
    "weights.x_axis": (0.0, NONE),
    "weights.hypotheses": (0.0, NONE),
    "weights.offset": (0.0, NONE),
    "weights.size": (0.0, NONE),
    "weights.confidence": (0.0, NONE),
    "weights.coordinates": (0.0, NONE),
    "weights.foreground": (0.0, NONE),
    "weights.coordinate_distances": (0.0, NONE),
    "weights.rotation_columns": (0.0, NONE),
    "weights.offset_norm": (0.0, NONE),
    "weights.size_norm": (0.0, NONE),
    "weights.keypoint_chamfer": (0.0, NONE),
    "weights.keypoint_diversity": (0.0, NONE),
    "weights.keypoint_coordinates": (0.0, NONE),
    "weights.rebuilt": (0.0, NONE),
    "weights.rebuilt_offsets": (0.0, NONE),
    # optimisation
    "share": ([3.0, 1.0], f"{GPV}: three of CAMERA25 to one of REAL275"),
    "category_share": ([1.0] * 6, NONE),
    "steps": (150 * 1500, f"{HS}: 150 epochs of 1500; the paper does not say"),
    "batch": (24, IMPLEMENTATION),
    "optimiser": ("ranger", IMPLEMENTATION),
    "learning_rate": (1e-4, IMPLEMENTATION),
    "warm_up": (1000, GPV),
    "schedule": ("cosine", IMPLEMENTATION),
    "flat": (0.72, f"{IMPLEMENTATION}: annealed at 72 %"),
    "final": (0.0, f"{GPV}: the cosine ends at 0"),
    "weight_decay": (0.0, GPV),
    "clip": (5.0, GPV),
}

# Settings of which the paper knows nothing: our own machinery.
OURS = (
    *("data", "output", "start", "seed", "ema", "teacher", "validation_shards", "precision", "tf32"),
    *("in_memory", "workers", "growing", "budget_s", "log_every", "checkpoint_every", "tensorboard", "device"),
    *("batches.outlier_radius", "batches.hidden_cue", "batches.sensor", "distillation"),
    *(f"batches.ground.{name}" for name in ("height_known", "tilt_deg", "poor", "poor_tilt_deg", "height_m")),
    *(f"batches.ground.{name}" for name in ("wrong", "wrong_tilt_deg", "wrong_height_m")),
    *(f"batches.prior.{name}" for name in ("turn_deg", "tilt_deg", "far", "far_factor", "at_rest", "swapped", "lost")),
    *(f"batches.prior.{name}" for name in ("offset", "size", "growth", "margin_m")),
    "batches.pictures",
)

POSE_TEXT = "a point cloud model of a {} whose rotation euler angles is <{}, {}, {}> and translation is <{}, {}, {}>."
ESTIMATION_TEXT = "a point cloud model of a {} whose pose is to be estimated."

# What is no setting, or follows from one.
FACTS = {
    "text of training": (POSE_TEXT, "section III-A"),
    "text of inference": (ESTIMATION_TEXT, "section III-A"),
    "text without a pose": ("a point cloud model of a {}.", "section III-A; table IX, row 1"),
    "image [px]": (224, IMPLEMENTATION),
    "neighbours": (20, HS),
    "neighbours of the plain encoder": (10, f"table VII; {GPV}"),
    "responses averaged": (True, HS),
    "responses of the plain encoder averaged": (False, f"table VII; {GPV}"),
    "points that become one": (4, HS),
    "neighbours on the three levels": ([20, 20, 8], HS),
    "encoder's features": (1280, IMPLEMENTATION),
    "contrastive feature": (512, IMPLEMENTATION),
    "widths of a rotation head": ([1280, 1024, 256, 256, 4], GPV),
    "width of the box head": (1283, f"{GPV}: 1280 and the point"),
    "dropout": (0.2, GPV),
    "faces of a box": (6, GPV),
    "fall of the rotation's confidence": (13.7, GPV),
    "fall of the face's confidence [1/m²]": (303.5, GPV),
    "betas": ((0.95, 0.999), GPV),
    "lookahead": ((6, 0.5), GPV),
    "centralised gradients": (True, GPV),
    "axis-symmetric": ({"bottle", "bowl", "can"}, "section III-D, equation 13"),
    "mirrored": ({"laptop", "mug"}, "section III-D, equation 13"),
    "mean sizes [mm]": (
        [[87, 220, 89], [165, 80, 165], [88, 128, 156], [68, 146, 72], [346, 200, 335], [146, 83, 114]],
        f"equation 11: M_s; {GPV}",
    ),
    "accuracy on REAL275": (
        {"5deg_2cm": 0.487, "5deg_5cm": 0.583, "10deg_2cm": 0.704, "10deg_5cm": 0.852},
        "table I; tables VII and VIII",
    ),
}


def flat(settings: dict, prefix: str = "") -> dict:
    leaves = {}
    for name, value in settings.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def in_code() -> dict:
    """Settings of the paper's training as a run without options has them."""
    run = dataclasses.replace(clipose.PAPER, data=(), output="")
    leaves = flat(plain_settings(run, AlignmentConfig()))
    return {name: value for name, value in leaves.items() if not any(f"{name}.".startswith(f"{own}.") for own in OURS)}


def widths(head: nn.Sequential) -> list[int]:
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def facts_in_code() -> dict:
    """The same as `FACTS`, measured on what a run is made of."""
    run = dataclasses.replace(clipose.PAPER, data=(), output="")
    network = Clipose(run.network)
    ranger = make_optimiser(nn.Linear(2, 2), [], run)
    group = ranger.param_groups[0]
    plain = HSEncoderConfig(hybrid=False)
    one = torch.ones(1, 1, 6)
    normals = torch.eye(3).repeat(2, 1)[None, None]
    planes = faces.Planes(normals[0], torch.zeros(1, 6))
    fall = faces.face_confidence_target(normals, 0.1 * one, planes, 0 * one, torch.ones(1))[0, 0, 0].log().item()
    return {
        "text of training": descriptions.POSE_TEXT,
        "text of inference": descriptions.ESTIMATION_TEXT,
        "text without a pose": descriptions.CATEGORY_TEXT,
        "image [px]": images.SIDE,
        "neighbours": run.network.encoder.nearest,
        "neighbours of the plain encoder": plain.nearest,
        "responses averaged": run.network.encoder.averages,
        "responses of the plain encoder averaged": plain.averages,
        "points that become one": POOLING,
        "neighbours on the three levels": [
            HSEncoder(run.network.encoder).near(torch.rand(1, count, 3)).shape[-1] for count in (1024, 256, 64)
        ],
        "encoder's features": sum(network.encoder.widths),
        "contrastive feature": network.feature_width,
        "widths of a rotation head": widths(network.y_head),
        "width of the box head": widths(network.box_head)[0],
        "dropout": next(module.p for module in network.x_head.modules() if isinstance(module, nn.Dropout)),
        "faces of a box": FACES,
        "fall of the rotation's confidence": round(-math.log(confidence_target(torch.ones(())).item()), 4),
        "fall of the face's confidence [1/m²]": round(-fall * 100, 2),
        "betas": group["betas"],
        "lookahead": (group["k"], group["alpha"]),
        "centralised gradients": ranger.use_gc,
        "axis-symmetric": AXIS_SYMMETRIC,
        "mirrored": MIRRORED,
        "mean sizes [mm]": [(1000 * MEAN_SIZES[category]).round(6).tolist() for category in CATEGORIES],
        "accuracy on REAL275": PAPER_REAL275,
    }


def test_every_setting_of_the_papers_training_is_the_papers():
    assert in_code() == {name: value for name, (value, _) in SETTINGS.items()}


def test_what_follows_from_the_settings_is_the_papers():
    assert facts_in_code() == {name: value for name, (value, _) in FACTS.items()}


def test_the_table_covers_every_weight_and_says_where_each_number_stands():
    weights = {name.removeprefix("weights.") for name in SETTINGS if name.startswith("weights.")}
    assert weights == {field.name for field in dataclasses.fields(LossWeights)}
    assert all(source for _, source in [*SETTINGS.values(), *FACTS.values()])
