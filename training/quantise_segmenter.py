"""Give a depth segmenter its networks in 8 bits, too, which the CPU runs instead.

    python -m training.export_segmenter --checkpoint runs/segmenter/averaged.pt --output models/segmenter-depth
    python -m training.quantise_segmenter --model models/segmenter-depth
    python -m training.calibrate_segmenter --model models/segmenter-depth

The ranges of what the layers answer are those of new generated scenes. Weights keep 7 bits, so that sums never overflow
and all processors answer alike. GPUs go on with the networks of before: TensorRT wants ranges of another kind.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copyfileobj

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from clipose_ros.inference.card import NetworkFile, read_card, settings_from, write_card
from clipose_ros.inference.session import Session
from clipose_ros.segmenters.depth import INT8, MASKS, NAMES, DepthSegmenterSettings, box_of
from clipose_ros.segmenters.depth_channels import depth_grid, image_channels, object_crops
from training.command import run
from training.measure_segmenter import scene_frames
from training.scenes import SceneConfig
from training.storage import write_whole

SHARD = 10  # scenes of the same shapes
SAME_OBJECT, SAME_NAME = 0.995, 0.96  # shares of cells, and of crops, of which both networks must say the same


def seen_by_networks(
    scenes: int, seed: int, low_heights: bool, config: SceneConfig = SceneConfig()
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw scenes as the two networks see them.

    Parameters
    ----------
    scenes, seed : int
        How many, and of which shapes.
    low_heights : bool
        As the segmenter's settings have it.
    config : SceneConfig
        How they are drawn.

    Yields
    ------
    channels : (1, CHANNELS, h, w) float32
        Of a scene.
    crops : (K, CROP_CHANNELS, CROP, CROP) float32
        Of its objects, by their true masks.
    """
    for first in range(0, scenes, SHARD):
        for frame, truth in scene_frames(seed + first, min(SHARD, scenes - first), config):
            grid = depth_grid(frame)
            numbers = np.ascontiguousarray(grid.sampled(truth.numbers))
            masks = [numbers == number for number in truth.names]
            boxed = [(mask, box) for mask in masks if (box := box_of(mask)) is not None]
            yield image_channels(grid, low_heights)[None], object_crops(grid, boxed)


class _Given(CalibrationDataReader):
    """Hands inputs over one by one."""

    def __init__(self, name: str, inputs: list[np.ndarray]) -> None:
        self._name, self._inputs = name, iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one by its name; None after the last."""
        given = next(self._inputs, None)
        return None if given is None else {self._name: given}


def quantised(folder: Path, network: NetworkFile, inputs: list[np.ndarray], output: Path) -> NetworkFile:
    """Write a network in 8 bits.

    Parameters
    ----------
    folder : Path
        Of the model.
    network : NetworkFile
        In fp32, with one input.
    inputs : list of array
        What it sees, for the ranges of its activations.
    output : Path
        Folder for the new file.

    Returns
    -------
    NetworkFile
        Its entry in the card.
    """
    (name,) = network.inputs
    written, prepared = output / network.file.replace(".onnx", f"{INT8}.onnx"), output / "prepared.onnx"
    quant_pre_process(str(folder / network.file), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(written),
        _Given(name, inputs),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    return replace(network, file=written.name, sha256=digest, precision="int8")


def _said(key: str, session: Session, inputs: list[np.ndarray]) -> np.ndarray:
    """What a network says: of each cell whether it shows an object, or the name of each crop."""
    (given,), (answer,) = session.network.inputs, session.network.outputs
    answers = [session.run({given: one})[answer] for one in inputs]
    return np.concatenate([(one[:, 0] > 0).ravel() if key == MASKS else one.argmax(axis=1) for one in answers])


def quantise_segmenter(model: Path, scenes: int = 100, seed: int = 900_001) -> None:
    """Write masks_int8.onnx and names_int8.onnx, and name them in the card.

    Parameters
    ----------
    model : Path
        Folder of a depth segmenter.
    scenes : int
        To draw: four of five give the ranges, the others the comparison.
    seed : int
        Of the first shapes; no training draws such.

    Raises
    ------
    ValueError
        When networks say something else than before too often. The card stays as it was.
    """
    card = read_card(model)
    low_heights = settings_from(DepthSegmenterSettings, card).low_heights
    seen = list(seen_by_networks(scenes, seed, low_heights))
    fit = max(1, 4 * len(seen) // 5)
    networks = {key: network for key, network in card.networks.items() if not key.endswith(INT8)}
    with tempfile.TemporaryDirectory() as place:
        for key, of_network, least in ((MASKS, 0, SAME_OBJECT), (NAMES, 1, SAME_NAME)):
            inputs = [given[of_network] for given in seen]
            inputs, others = ([one for one in part if len(one)] for part in (inputs[:fit], inputs[fit:]))
            whole, small = card.network(key), quantised(model, card.network(key), inputs, Path(place))
            said, said_too = (
                _said(key, session, others) for session in (Session(model, whole), Session(Path(place), small))
            )
            same = 100 * float(np.mean(said == said_too))
            print(f"{key}: {same:.2f} % of {len(said)} answers are those of fp32, on {len(others)} other scenes")
            if not same >= 100 * least:
                raise ValueError(f"{key}: expected {100 * least:.1f} % of the answers as in fp32, got {same:.2f}")
            networks[key + INT8] = small
        for small in (networks[key + INT8] for key in (MASKS, NAMES)):
            with (Path(place) / small.file).open("rb") as written:
                write_whole(model / small.file, partial(copyfileobj, written))
    write_card(replace(card, networks=networks), model)


if __name__ == "__main__":
    run(quantise_segmenter)
