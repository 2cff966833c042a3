"""Maps small pictures of an object to unit vectors that are the more alike, the less the object is turned between them.

The network was trained on other objects (`python -m training.retrieval`), and knows none. Vectors are made when an
object is first sought, and not stored with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.inference.card import NetworkFile
from clipose_ros.inference.session import Session, SessionConfig

NETWORK, CROPS, EMBEDDINGS = "retrieval", "crops", "embeddings"
CHANNELS = 4  # levelled colour times the mask, and the mask
BRIGHTEST = 4.0  # of a levelled colour, as in training
LARGEST_SIDE_PX, WIDEST = 256, 1024
MOST_AT_ONCE = 64  # crops in one call: bounds memory


class ViewEmbedder:
    """A network that embeds crops, loaded and checked against its card.

    Parameters
    ----------
    folder : Path
        Of the model.
    network : NetworkFile
        Its entry in the card.
    config : SessionConfig
        Where and how it runs.

    Attributes
    ----------
    side : int
        Of the crops [px].
    width : int
        Numbers of a vector.

    Raises
    ------
    ValueError
        If the network is not what the card says, or takes or gives something else.
    RuntimeError
        If the provider cannot be had.
    """

    def __init__(self, folder: Path, network: NetworkFile, config: SessionConfig = SessionConfig()) -> None:
        shape, found = network.inputs.get(CROPS, ()), network.outputs.get(EMBEDDINGS, ())
        fitting = len(shape) == 4 and shape[1] == CHANNELS and shape[2] == shape[3] and _is_count(shape[2], 256)
        expect(f"{folder}: inputs.{CROPS}", fitting, f"[batch, {CHANNELS}, side, side]", list(shape))
        fitting = len(found) == 2 and _is_count(found[1], WIDEST)
        expect(f"{folder}: outputs.{EMBEDDINGS}", fitting, f"[batch, 1 to {WIDEST}]", list(found))
        self.side, self.width = int(shape[2]), int(found[1])
        self._session = Session(folder, network, config)

    def embed(self, paints: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Embed crops.

        Parameters
        ----------
        paints : (N, side, side, 3) float32
            Colours by their mean brightness, each times the mask.
        masks : (N, side, side) float32
            What part of each pixel the object covers.

        Returns
        -------
        (N, width) float32
            Of length 1.
        """
        crops = np.concatenate([paints.clip(0, BRIGHTEST).transpose(0, 3, 1, 2), masks[:, None]], axis=1)
        crops = np.ascontiguousarray(crops, np.float32)
        parts = [crops[start : start + MOST_AT_ONCE] for start in range(0, len(crops), MOST_AT_ONCE)]
        return np.concatenate([self._session.run({CROPS: part})[EMBEDDINGS] for part in parts])


def _is_count(value: int | str, most: int) -> bool:
    return isinstance(value, int) and 1 <= value <= most
