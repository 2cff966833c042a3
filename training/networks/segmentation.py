"""The two networks of the depth segmenter: one finds objects and their centres, one says what each is.

Both see metric channels (`clipose_ros.segmenters.depth_channels`). The first is a small U-Net whose finest grid is a
quarter of the image; it answers at half of it. Most of its weights are where they cost least: at a sixteenth. The
second sees a crop of each object that the first has found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipose_ros.segmenters.depth_channels import CHANNELS, CROP_CHANNELS


class MatrixConvolution(nn.Module):
    """A 3x3 convolution without bias whose weights are a matrix, as Muon wants them, then batch norm and ReLU.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.stride = inputs, stride
        self.weight = nn.Parameter(torch.randn(outputs, inputs * 9) * (2 / (inputs * 9)) ** 0.5)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        image : (B, inputs, H, W) Tensor
            Channels.

        Returns
        -------
        (B, outputs, H / stride, W / stride) Tensor
            Channels.
        """
        kernel = self.weight.view(-1, self.inputs, 3, 3)
        return F.relu(self.norm(F.conv2d(image, kernel, stride=self.stride, padding=1)))


class SeparableConvolution(nn.Module):
    """A convolution of each channel alone, then one of all channels at each pixel: a tenth of the work of a 3x3 one.

    Parameters
    ----------
    channels : int
        In and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.each = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.each_norm = nn.BatchNorm2d(channels)
        self.weight = nn.Parameter(torch.randn(channels, channels) * (2 / channels) ** 0.5)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        image : (B, channels, H, W) Tensor
            Channels.

        Returns
        -------
        (B, channels, H, W) Tensor
            Channels.
        """
        return F.relu(self.norm(F.conv2d(self.each_norm(self.each(image)), self.weight[:, :, None, None])))


def hidden_matrices(network: nn.Module) -> dict[int, list[nn.Parameter]]:
    """Name the weights of all convolutions but those that see the input.

    Parameters
    ----------
    network : nn.Module
        Of convolutions of this module.

    Returns
    -------
    dict of int to list of Parameter
        By the number of matrices stacked in each.
    """
    kinds = MatrixConvolution, SeparableConvolution
    convolutions = [part for part in network.modules() if isinstance(part, kinds)]
    return {1: [part.weight for part in convolutions[1:]]}


@dataclass(frozen=True)
class MaskNetworkConfig:
    """Size of the network that finds objects.

    Parameters
    ----------
    widths : (int, int, int, int)
        Channels at a half, a quarter, an eighth and a sixteenth of the image.
    depth : int
        Residual convolutions at a sixteenth.
    separable : bool
        Whether convolutions at an eighth and a sixteenth that keep the number of channels are separable.
    low_heights : bool
        Whether it sees low heights, see `depth_channels.image_channels`.
    """

    widths: tuple[int, int, int, int] = (16, 24, 64, 128)
    depth: int = 6
    separable: bool = True
    low_heights: bool = True


class MaskNetwork(nn.Module):
    """A U-Net: of each 2x2 block of pixels, whether it shows an object, and where that object's centre is.

    Parameters
    ----------
    config : MaskNetworkConfig
        Its size.
    """

    def __init__(self, config: MaskNetworkConfig = MaskNetworkConfig()) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth, sixteenth = config.widths

        def level(channels: int) -> nn.Module:
            return SeparableConvolution(channels) if config.separable else MatrixConvolution(channels, channels)

        self.stem = MatrixConvolution(CHANNELS, half, stride=2)
        self.fine = nn.Sequential(MatrixConvolution(half, quarter, stride=2), MatrixConvolution(quarter, quarter))
        self.middle = nn.Sequential(MatrixConvolution(quarter, eighth, stride=2), level(eighth))
        self.down = MatrixConvolution(eighth, sixteenth, stride=2)
        self.coarse = nn.ModuleList([level(sixteenth) for _ in range(config.depth)])
        self.context = nn.Linear(sixteenth, sixteenth)
        self.to_middle = nn.Conv2d(sixteenth, eighth, 1)
        self.middle_again = level(eighth)
        self.to_fine = nn.Conv2d(eighth, quarter, 1)
        self.fine_again = MatrixConvolution(quarter, quarter)
        self.answer = nn.Conv2d(quarter, 16, 1)
        self.answer_of_half = nn.Conv2d(half, 4, 1)
        nn.init.zeros_(self.answer.bias)
        with torch.no_grad():  # most pixels are background, and hardly any is a centre
            self.answer.bias[0:4] = -2.0
            self.answer.bias[4:8] = -4.0

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Name the weights that Muon takes.

        Returns
        -------
        dict of int to list of Parameter
            By the number of matrices stacked in each.
        """
        return hidden_matrices(self)

    def forward(self, channels: Tensor) -> Tensor:
        """Find objects.

        Parameters
        ----------
        channels : (B, CHANNELS, H, W) float32
            Of images whose sides are multiples of 16.

        Returns
        -------
        (B, 4, H / 2, W / 2) float32
            Logits of object and of centre; then the way to the centre, right and down [OFFSET_UNIT cells].
        """
        half = self.stem(channels)
        fine = self.fine(half)
        middle = self.middle(fine)
        coarse = self.down(middle)
        for layer in self.coarse:
            coarse = coarse + layer(coarse)
        coarse = coarse + self.context(coarse.mean(dim=(2, 3)))[:, :, None, None]
        middle = self.middle_again(middle + F.interpolate(self.to_middle(coarse), scale_factor=2.0, mode="nearest"))
        fine = self.fine_again(fine + F.interpolate(self.to_fine(middle), scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.answer(fine), 2) + self.answer_of_half(half)


@dataclass(frozen=True)
class NameNetworkConfig:
    """Size of the network that names objects.

    Parameters
    ----------
    names : int
        What an object may be, and nothing last.
    widths : (int, int, int, int)
        Channels at the whole, a half, a quarter and an eighth of a crop.
    """

    names: int = 8
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)


class NameNetwork(nn.Module):
    """Says what a crop shows.

    Parameters
    ----------
    config : NameNetworkConfig
        Its size.
    """

    def __init__(self, config: NameNetworkConfig = NameNetworkConfig()) -> None:
        super().__init__()
        self.config = config
        whole, half, quarter, eighth = config.widths
        self.layers = nn.Sequential(
            MatrixConvolution(CROP_CHANNELS, whole),
            MatrixConvolution(whole, half, stride=2),
            MatrixConvolution(half, half),
            MatrixConvolution(half, quarter, stride=2),
            MatrixConvolution(quarter, quarter),
            MatrixConvolution(quarter, eighth, stride=2),
            MatrixConvolution(eighth, eighth),
            MatrixConvolution(eighth, eighth),
        )
        self.answer = nn.Sequential(
            nn.Linear(2 * eighth, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, config.names)
        )

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Name the weights that Muon takes.

        Returns
        -------
        dict of int to list of Parameter
            By the number of matrices stacked in each.
        """
        return hidden_matrices(self)

    def forward(self, crops: Tensor) -> Tensor:
        """Name objects.

        Parameters
        ----------
        crops : (K, CROP_CHANNELS, CROP, CROP) float32
            As `depth_channels.object_crops` makes them.

        Returns
        -------
        (K, names) float32
            Logits.
        """
        seen = self.layers(crops)
        return self.answer(torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1))


@dataclass(frozen=True)
class SegmenterNetworksConfig:
    """Size of both networks.

    Parameters
    ----------
    masks : MaskNetworkConfig
        Of the one that finds objects.
    names : NameNetworkConfig
        Of the one that names them.
    """

    masks: MaskNetworkConfig = field(default_factory=MaskNetworkConfig)
    names: NameNetworkConfig = field(default_factory=NameNetworkConfig)


class SegmenterNetworks(nn.Module):
    """Both networks, which are trained together.

    Parameters
    ----------
    config : SegmenterNetworksConfig
        Their size.
    """

    def __init__(self, config: SegmenterNetworksConfig = SegmenterNetworksConfig()) -> None:
        super().__init__()
        self.masks, self.names = MaskNetwork(config.masks), NameNetwork(config.names)

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Name the weights that Muon takes.

        Returns
        -------
        dict of int to list of Parameter
            By the number of matrices stacked in each.
        """
        return {1: self.masks.hidden_matrices()[1] + self.names.hidden_matrices()[1]}
