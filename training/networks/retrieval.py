"""The network that says by how much two views of an object are turned from one another.

It maps a masked crop to a unit vector. A convolution keeps where in the crop something is, and the last layer has a
weight for each place: rotations are told apart by where things are, turns about the camera's axis among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.segmentation import MatrixConvolution, hidden_matrices

CHANNELS = 4  # levelled colour times the mask, and the mask


@dataclass(frozen=True)
class RetrievalNetworkConfig:
    """Size of the network.

    Parameters
    ----------
    side : int
        Of a crop [px]; a multiple of 16.
    widths : (int, int, int, int)
        Channels at a half, a quarter, an eighth and a sixteenth of the crop.
    depth : int
        Residual convolutions at an eighth.
    width : int
        Numbers of an embedding.
    """

    side: int = 48
    widths: tuple[int, int, int, int] = (24, 48, 96, 96)
    depth: int = 2
    width: int = 64

    def __post_init__(self) -> None:
        if self.side < 16 or self.side % 16:
            raise ValueError(f"network.side: expected a multiple of 16, got {self.side}")


class RetrievalNetwork(nn.Module):
    """Embeds masked crops.

    Parameters
    ----------
    config : RetrievalNetworkConfig
        Its size.
    """

    def __init__(self, config: RetrievalNetworkConfig = RetrievalNetworkConfig()) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth, sixteenth = config.widths
        self.stem = MatrixConvolution(CHANNELS, half, stride=2)
        self.quarter = nn.Sequential(MatrixConvolution(half, quarter, stride=2), MatrixConvolution(quarter, quarter))
        self.eighth = MatrixConvolution(quarter, eighth, stride=2)
        self.residual = nn.ModuleList([MatrixConvolution(eighth, eighth) for _ in range(config.depth)])
        self.sixteenth = MatrixConvolution(eighth, sixteenth, stride=2)
        self.embedding = nn.Linear(sixteenth * (config.side // 16) ** 2, config.width)

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Name the weights that Muon takes.

        Returns
        -------
        dict of int to list of Parameter
            By the number of matrices stacked in each.
        """
        return hidden_matrices(self)

    def forward(self, crops: Tensor) -> Tensor:
        """Embed crops.

        Parameters
        ----------
        crops : (B, CHANNELS, side, side) float32
            Levelled colour times the mask, and the mask.

        Returns
        -------
        (B, width) float32
            Of length 1.
        """
        seen = self.eighth(self.quarter(self.stem(crops)))
        for layer in self.residual:
            seen = seen + layer(seen)
        return F.normalize(self.embedding(self.sixteenth(seen).flatten(1)).float(), dim=1)
