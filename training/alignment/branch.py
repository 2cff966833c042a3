"""The CLIP branch of CLIPose: it aligns the cloud's feature with an image and a text of the same object.

It serves training alone. Nothing of it is part of the network, so that an export has nothing to drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.alignment.contrastive import category_cross_entropy, noise_contrastive
from training.alignment.descriptions import category_texts, estimation_texts, pose_texts, random_poses
from training.alignment.towers import ImageTower, PromptConfig, TextTower, load_clip


@dataclass(frozen=True)
class AlignmentConfig:
    """Weights of the terms (equations 4 and 14) and how they are made. The defaults are the paper's.

    0 leaves a term out.

    Parameters
    ----------
    clip : str
        A name at the hub, a folder, or "random": small and untrained.
    point_image : float
        α: cloud and image.
    point_text : float
        β: cloud and text.
    image_text : float
        λ: image and text.
    image_category : float
        Classification of images by the texts of the categories (equation 5).
    temperature : float
        τ of the contrastive terms.
    category_temperature : float
        Of the classification; equation 5 has none.
    class_aware : bool
        Samples of one category are not each other's negatives.
    text_pose : "true", "none" or "random"
        What the texts say about the pose (table IX).
    joint_text : bool
        Train prompts and projection of the text tower, too (table V).
    prompts : PromptConfig
        What of the image tower is trained.
    """

    clip: str = "openai/clip-vit-base-patch16"
    point_image: float = 1.0
    point_text: float = 1.0
    image_text: float = 0.0
    image_category: float = 1.0
    temperature: float = 0.07
    category_temperature: float = 1.0
    class_aware: bool = False
    text_pose: Literal["true", "none", "random"] = "true"
    joint_text: bool = False
    prompts: PromptConfig = field(default_factory=PromptConfig)

    def __post_init__(self) -> None:
        for name in ("temperature", "category_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected above 0, got {getattr(self, name)}")


class Alignment(nn.Module):
    """Loss terms between the cloud's feature, the image and the text of each sample.

    Its state dict holds what is trained alone. The frozen weights are the hub's and come back with `config.clip`.
    Negatives are those of the process's own batch: where several train as one, each contrasts its share.

    Parameters
    ----------
    feature_width : int
        Of the cloud's feature.
    config : AlignmentConfig
        Terms and towers.
    fused : "image" or "text", optional
        The feature that the network fuses with its own (`training.networks.fusion`).
    """

    def __init__(
        self,
        feature_width: int,
        config: AlignmentConfig = AlignmentConfig(),
        fused: Literal["image", "text"] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.fused = config, fused
        clip = load_clip(config.clip)
        self.width = clip.model.config.projection_dim
        uses_image = bool(config.point_image or config.image_text or config.image_category) or fused == "image"
        uses_text = bool(config.point_text or config.image_text or config.image_category) or fused == "text"
        self.image_tower = ImageTower(clip.model, config.prompts) if uses_image else None
        self.text_tower = (
            TextTower(clip.model, clip.tokenizer, config.prompts.length, config.joint_text) if uses_text else None
        )
        uses_points = bool(config.point_image or config.point_text)
        self.point_projection = nn.Linear(feature_width, self.width) if uses_points else None
        self.register_state_dict_post_hook(_leave_frozen_out)
        self.register_load_state_dict_post_hook(_expect_no_frozen)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Give the parameters to optimise: point projection, prompt tokens, projection layers.

        Returns
        -------
        dict of nn.Parameter
            By name.
        """
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def texts(
        self, category: Tensor, rotation: Tensor, translation: Tensor, generator: torch.Generator | None
    ) -> list[str]:
        """Write one text for each sample.

        Parameters
        ----------
        category, rotation, translation : Tensor
            As for `forward`.
        generator : torch.Generator or None
            Draws the poses of `text_pose` "random".

        Returns
        -------
        list of str
            In the order of the samples.

        Raises
        ------
        ValueError
            Where random poses are asked for without a generator.
        """
        indices = category.cpu().numpy()
        if self.config.text_pose == "none":
            return category_texts(indices)
        if self.config.text_pose == "random":
            if generator is None:
                raise ValueError("generator: expected one for text_pose 'random', got None")
            return pose_texts(indices, *random_poses(len(indices), generator))
        return pose_texts(indices, rotation.cpu().numpy(), translation.cpu().numpy())

    def other(self, images: Tensor, category: Tensor) -> Tensor | None:
        """Compute what the network fuses with the cloud's features.

        Parameters
        ----------
        images, category : Tensor
            As for `forward`.

        Returns
        -------
        (B, D) float32 or None
            The feature of the image or of the category's text at inference. None where nothing is fused.
        """
        if self.fused is None:
            return None
        return self.image_tower(images) if self.fused == "image" else self.text_tower(estimation_texts())[category]

    def forward(
        self,
        feature: Tensor,
        images: Tensor,
        category: Tensor,
        rotation: Tensor,
        translation: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms of the batch.

        Parameters
        ----------
        feature : (B, F) float32
            Of the clouds.
        images : (B, 3, 224, 224) float32
            As `training.alignment.images` makes them.
        category : (B,) int64
            Index into CATEGORIES.
        rotation : (B, 3, 3) float32
            R_camera_object, of which the texts speak.
        translation : (B, 3) float32
            Of the object, camera frame [m].
        generator : torch.Generator, optional
            Draws the poses of `text_pose` "random".

        Returns
        -------
        dict of Tensor
            Weighted. Terms of weight 0 are not there.
        """
        c = self.config
        points = self.point_projection(feature) if self.point_projection is not None else None
        image = self.image_tower(images) if c.point_image or c.image_text or c.image_category else None
        texts = self.texts(category, rotation, translation, generator) if c.point_text or c.image_text else []
        categories = estimation_texts() if c.image_category else []
        # one pass for both kinds
        text = self.text_tower([*texts, *categories]) if texts or categories else None
        negatives = category if c.class_aware else None
        terms = {}
        if c.point_image:
            terms["point_image"] = c.point_image * noise_contrastive(points, image, c.temperature, negatives)
        if c.point_text:
            terms["point_text"] = c.point_text * noise_contrastive(points, text[: len(texts)], c.temperature, negatives)
        if c.image_text:
            terms["image_text"] = c.image_text * noise_contrastive(image, text[: len(texts)], c.temperature, negatives)
        if c.image_category:
            terms["image_category"] = c.image_category * category_cross_entropy(
                image, text[len(texts) :], category, c.category_temperature
            )
        return terms


def _frozen(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def _leave_frozen_out(module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]) -> None:
    for name in _frozen(module):
        del state[prefix + name]


def _expect_no_frozen(module: nn.Module, incompatible: Any) -> None:
    frozen = _frozen(module)
    incompatible.missing_keys[:] = [
        key for key in incompatible.missing_keys if not any(key == name or key.endswith(f".{name}") for name in frozen)
    ]
