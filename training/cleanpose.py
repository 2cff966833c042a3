"""Train CleanPose as its paper does: network, losses, schedule, augmentations, data.

    python -m training.nocs --root NOCS --split camera_train --output data/camera_train
    python -m training.nocs --root NOCS --split real_train --output data/real_train
    python -m training.cleanpose --data data/camera_train data/real_train --output runs/cleanpose --device cuda

The image backbone is DINOv2's, whose weights `--backbone-weights` names: at the hub, or in a folder. Others are
`--backbone efficientnet-lite2`, `small` and `none`. The rows must hold colour (`training.nocs --colour`); without it,
and where it is dropped now and then, the network goes by the points. The compact variant trains as the compact network
does: `python -m training.train ... network:cleanpose-lite --backbone small`.
"""

from __future__ import annotations

from typing import Annotated

import tyro

from clipose_ros.core.categories import CATEGORIES
from training.command import run
from training.data.augmentation import AugmentationConfig
from training.data.dataset import BatchConfig, GroundConfig
from training.data.picture_augmentation import PictureAugmentation
from training.losses import LossWeights
from training.networks import CleanPoseConfig
from training.train import TrainConfig, train

PAPER = TrainConfig(
    data=tyro.MISSING,
    output=tyro.MISSING,
    share=(3.0, 1.0),
    steps=120_000,
    batch=24,
    optimiser="adamw",  # without decay it is Adam
    learning_rate=5e-4,
    schedule="triangular2",
    warm_up=20_000,
    final=0.04,
    weight_decay=0.0,
    clip=1e9,
    category_share=(1.0,) * len(CATEGORIES),
    network=CleanPoseConfig(backbone="dinov2"),
    batches=BatchConfig(
        scale_jitter=0.2,
        hidden_weight=1.0,
        simulate=False,
        augmentation=AugmentationConfig(
            mirrored=0.0, box_scale=0.0, taper=0.0, rigid=1.0, rigid_deg=20.0, rigid_m=0.02, noise=0.0
        ),
        pictures=PictureAugmentation(zoom=(1.0, 1.0), moved=0.0, dropped=0.1),  # and colour jitter
        ground=GroundConfig(known=0.0),
    ),
    weights=LossWeights.cleanpose("paper"),
)

Settings = Annotated[TrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands]


def main(run: Settings = PAPER) -> None:
    """Train with the paper's settings, each of which an option changes.

    Parameters
    ----------
    run : TrainConfig
        The run.
    """
    train(run)


if __name__ == "__main__":
    run(main)
