"""Crops of objects for the network that names them, with the masks that the first network finds, and others.

    python -m training.object_crops --data data/scenes --masks runs/masks/checkpoint.pt --output data/crops

Of each scene: the objects that the first network finds, what it finds that is none, and true masks as a detector might
find them, grown, shrunk and cut. Without `--masks`, the latter alone.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from clipose_ros.segmenters.centre_votes import instances_of
from clipose_ros.segmenters.depth import box_of
from clipose_ros.segmenters.depth_channels import image_channels, object_crops
from training.command import run
from training.processes import torch_threads
from training.rows import mapped_arrays
from training.scene_format import CROP_ARRAYS, IGNORED, MOST_OBJECTS, NOTHING
from training.segmenter import load_part, perforated, scene_grid
from training.storage import write_whole

RIGHT, WRONG = 0.5, 0.25  # IoU from which on a mask is that of an object, and below which it may be of nothing


def worn(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make of a true mask what a detector might find.

    Parameters
    ----------
    mask : (h, w) bool
        The true one.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (h, w) bool
        Moved, grown or shrunk at its edge, and sometimes cut.
    """
    out = mask.astype(np.uint8)
    if rng.random() < 0.5:
        out = np.roll(out, rng.integers(-1, 2, 2), axis=(0, 1))
    kind = rng.random()
    if kind < 0.3:
        out = cv2.dilate(out, np.ones((3, 3), np.uint8))
    elif kind < 0.5:
        out = cv2.erode(out, np.ones((3, 3), np.uint8))
    if rng.random() < 0.15 and (box := box_of(out.astype(bool))) is not None:
        v, u = np.indices(out.shape)
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9)
        middle = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
        across = (v - middle[0]) * np.sin(angle) + (u - middle[1]) * np.cos(angle)
        out[across > share * 0.5 * max(box[1] - box[0], box[3] - box[2])] = 0
    return out.astype(bool)


def scene_crops(
    row: dict[str, np.ndarray], network: torch.nn.Module | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the objects out of a scene.

    Parameters
    ----------
    row : dict of ndarray
        The scene.
    network : Module or None
        The one that finds objects.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    crops : (K, CROP_CHANNELS, CROP, CROP) float16
        Of the objects.
    names : (K,) uint8
        What they are.
    """
    grid, label = perforated(*scene_grid(row, rng.random() < 0.5), row, rng)
    truth = {number: label == number for number in range(1, MOST_OBJECTS + 1)}
    truth = {number: mask for number, mask in truth.items() if mask.any()}
    masks: list[np.ndarray] = [worn(mask, rng) for mask in truth.values()]
    names = [int(row["category"][number - 1]) for number in truth]
    if network is not None:
        with torch.no_grad():
            answer = network(torch.from_numpy(image_channels(grid))[None])[0].numpy()
        cells, scores = instances_of(answer)
        found = cells.repeat(2, axis=0).repeat(2, axis=1)
        for instance in range(1, len(scores) + 1):
            mask = found == instance
            overlaps = {number: _iou(mask, true) for number, true in truth.items()}
            best = max(overlaps, key=overlaps.get, default=0)
            if overlaps.get(best, 0) >= RIGHT:
                masks.append(mask)
                names.append(int(row["category"][best - 1]))
            elif overlaps.get(best, 0) < WRONG and (label[mask] == IGNORED).mean() < 0.2:
                masks.append(mask)
                names.append(NOTHING)
    if rng.random() < 0.3:  # a piece of the background, of any shape
        v, u = np.indices(label.shape)
        at, size = rng.uniform(0, 1, 2) * label.shape, np.exp(rng.uniform(1.5, 4.2, 2))
        blob = ((v - at[0]) / size[0]) ** 2 + ((u - at[1]) / size[1]) ** 2 < 1
        if blob.sum() > 40 and (label[blob] > 0).mean() < 0.15:
            masks.append(blob & (label == 0))
            names.append(NOTHING)
    boxed = [(mask, box_of(mask)) for mask in masks]
    kept = [i for i, (mask, box) in enumerate(boxed) if box is not None and (grid.z[mask] > 0).sum() > 20]
    return object_crops(grid, [boxed[i] for i in kept]).astype(np.float16), np.array([names[i] for i in kept], np.uint8)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def cut(data: Path, output: Path, masks: Path | None = None, seed: int = 0, shards: int | None = None) -> None:
    """Write a shard of crops for each shard of scenes. Those that are there are kept.

    Parameters
    ----------
    data : Path
        Folder of the scenes.
    output : Path
        Folder of the crops.
    masks : Path, optional
        Checkpoint of the network that finds objects.
    seed : int
        Of what is drawn.
    shards : int, optional
        Of so many shards alone.
    """
    network = load_part(masks, "masks")[0] if masks else None
    output.mkdir(parents=True, exist_ok=True)
    for path in track(sorted(data.glob("scenes_*.npz"))[:shards], "shards"):
        into = output / path.name.replace("scenes", "crops")
        if into.exists():
            continue
        scenes = mapped_arrays(path)
        rng = np.random.default_rng([seed, int(path.stem.rsplit("_", 1)[1])])
        rows = range(len(scenes["label"]))
        with torch_threads(1):
            cut_out = [scene_crops({key: value[i] for key, value in scenes.items()}, network, rng) for i in rows]
        crops, names = zip(*cut_out, strict=True)
        arrays = dict(zip(CROP_ARRAYS, (np.concatenate(crops), np.concatenate(names)), strict=True))
        write_whole(into, lambda file, arrays=arrays: np.savez(file, **arrays))


if __name__ == "__main__":
    run(cut)
