"""Rows: what is mapped equals what was written, what is broken is left out under its name, and sources come in their
shares.
"""

import zipfile
from collections import Counter

import numpy as np
import pytest
import torch

from training.data.row_format import OPTIONAL, ROW_TYPES, VIEW_ARRAYS
from training.data.rows import BROKEN, DatasetRows, RowDrawer, ShardRows, StepRows, ViewPool, mapped_arrays


def made_rows(views, seed=0):
    """Arrays of views with upright objects a metre away and random pictures."""
    rng = np.random.default_rng(seed)
    arrays = {
        name: np.zeros((views, *shape), dtype) for name, (shape, dtype) in ROW_TYPES.items() if name not in OPTIONAL
    }
    arrays["depth"] = rng.integers(5_000, 15_000, arrays["depth"].shape).astype(np.uint16)
    arrays["rotation"] += np.eye(3, dtype=np.float32)
    arrays["translation"] += np.float32([0, 0, 1])
    arrays["size"] += np.float32(0.1)
    arrays["category"] = np.arange(views) % 6
    return arrays


def write(folder, seed, views=12, **changed):
    path = folder / f"shard_{seed:06d}.npz"
    np.savez(path, **(made_rows(views, seed) | changed))
    return path


def test_types_are_those_of_the_views():
    assert [name for name in ROW_TYPES if name not in OPTIONAL] == list(VIEW_ARRAYS)


def test_mapped_arrays_equal_those_written(tmp_path):
    arrays = mapped_arrays(write(tmp_path, 1))
    for name, written in made_rows(12, 1).items():
        np.testing.assert_array_equal(arrays[name], written)


@pytest.mark.parametrize("shape", [(225, 225), (96, 95), (8, 8)])
def test_pictures_have_a_side_within_bounds(tmp_path, shape):
    with pytest.raises(ValueError, match=r"shard_000001.npz: colour: expected .* uint8, got"):
        ShardRows(write(tmp_path, 1, colour=np.zeros((12, *shape, 3), np.uint8)))


def test_rows_with_pictures_of_any_side_and_rows_without_come_together(tmp_path):
    small, large = (np.full((12, side, side, 3), value, np.uint8) for side, value in ((32, 50), (64, 90)))
    shards = [write(tmp_path, 1), write(tmp_path, 2, colour=small), write(tmp_path, 3, colour=large)]
    pool = ViewPool(shards)
    assert "colour" not in pool.read(np.array([0, 5]))[0]
    assert pool.read(np.array([3, 14]))[0]["colour"].shape == (2, 32, 32, 3)
    for index in ([30, 3, 14], [14, 30, 3]):
        colour = pool.read(np.array(index))[0]["colour"]
        assert colour.shape == (3, 64, 64, 3) and colour.dtype == np.uint8
        for row, number in zip(colour, index, strict=True):
            assert (row == {0: 0, 1: 50, 2: 90}[number // 12]).all()


def test_files_that_cannot_be_mapped_are_named(tmp_path):
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, **made_rows(2))
    with pytest.raises(ValueError, match="expected an array that is not compressed"):
        mapped_arrays(packed)
    objects = tmp_path / "objects.npz"
    np.savez(objects, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="expected plain numbers"):
        mapped_arrays(objects)
    whole = write(tmp_path, 1).read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="expected a whole .npz file"):
        mapped_arrays(cut)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_wrong_with_a_shard_is_named_by_its_path(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = write(tmp_path, 1, 3)
    content = bytearray(path.read_bytes())
    if seed % 2:
        content = content[: rng.integers(len(content))]
    for place in rng.integers(len(content), size=30):
        content[place] = rng.integers(256)
    for place in rng.integers(max(0, len(content) - 1200), len(content), size=3):  # in the table of contents
        content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
        ShardRows(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def test_a_shard_of_single_numbers_is_refused(tmp_path):
    path = write(tmp_path, 1, category=np.int64(3))
    with pytest.raises(ValueError, match=r"shard_000001.npz: depth: expected \(0, 72, 72\) uint16, got"):
        ShardRows(path)


def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
        archive.writestr("size.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ValueError, match="expected a whole .npz file"):
        mapped_arrays(path)


@pytest.mark.parametrize("in_memory", [False, True])
def test_pool_numbers_rows_through_its_shards(tmp_path, in_memory):
    pool = ViewPool([write(tmp_path, 1, 12), write(tmp_path, 2, 5)], in_memory)
    index = torch.tensor([16, 3, 12, 11, 3])
    rows = pool.rows(index, torch.device("cpu"))
    both = np.concatenate([made_rows(12, 1)["depth"], made_rows(5, 2)["depth"]])
    np.testing.assert_array_equal(rows["depth"].numpy(), both[index])
    assert len(pool) == 17 and not rows["measured"].any()


def test_broken_shards_and_rows_are_counted_and_never_drawn(tmp_path):
    rows = made_rows(12, 1)
    rows["translation"][2, 0] = np.nan
    rows["rotation"][3] *= 2
    rows["size"][4] = 0
    rows["category"][5] = 17
    empty = tmp_path / "shard_000009.npz"
    empty.write_bytes(b"")
    wrong = write(tmp_path, 8, depth=np.zeros((12, 3, 3), np.uint16))
    pool = ViewPool([write(tmp_path, 1, **rows), empty, wrong])
    reasons = Counter({"numbers that are not finite": 1, "no rotation": 1, "impossible size": 1, "unknown category": 1})
    assert reasons <= pool.skipped and pool.skipped.total() == 6
    assert any(
        "shard_000008.npz" in reason and "depth: expected (12, 72, 72) uint16, got (12, 3, 3)" in reason
        for reason in pool.skipped
    )
    drawer = RowDrawer(pool.category, np.zeros(len(pool), int), (1.0,), (1.0,) * 6)
    drawn = drawer.draw(2_000, np.random.default_rng(0))
    assert set(drawn) == {0, 1, 6, 7, 8, 9, 10, 11}
    with pytest.raises(ValueError, match="expected one that can be read"):
        ViewPool([wrong])


class Files:
    """A data set whose third row is unreadable, whose fourth has a reason, and whose fifth is not true."""

    class Reasoned(ValueError):
        reason = "no mask"

    def __getitem__(self, i):
        if i == 2:
            raise FileNotFoundError("0002_depth.png")
        if i == 3:
            raise self.Reasoned("0003")
        row = {name: array[i] for name, array in made_rows(6).items()}
        return row | {"measured": np.bool_(True), "size": row["size"] * (0 if i == 4 else 1)}


def test_rows_of_a_data_set_that_cannot_be_used_are_counted(tmp_path):
    pool = ViewPool([write(tmp_path, 1), DatasetRows(Files(), np.arange(6))])
    arrays, skipped = pool.read(np.array([15, 12, 0, 16, 14, 17]))
    assert skipped == {"FileNotFoundError": 1, "no mask": 1, "impossible size": 1}
    assert arrays["measured"].tolist() == [True, False, True]
    assert arrays["category"].tolist() == [0, 0, 5]


def test_sources_and_categories_come_in_their_shares():
    category = np.array([0] * 10 + [1] * 1000 + [0] * 100 + [BROKEN] * 50)
    source = np.array([0] * 1010 + [1] * 150)
    drawer = RowDrawer(category, source, source_share=(3, 1), category_share=(0.2, 0.8, 0, 0, 0, 0))
    drawn = drawer.draw(40_000, np.random.default_rng(0))
    assert (source[drawn] == 0).mean() == pytest.approx(0.75, abs=0.01)
    assert (category[drawn[source[drawn] == 0]] == 0).mean() == pytest.approx(0.2, abs=0.01)
    assert (category[drawn] != BROKEN).all() and len(np.unique(drawn)) == 1110
    with pytest.raises(ValueError, match="got none in source 1"):
        RowDrawer(category[:1010], source[:1010], (3, 1), (1,) * 6)


def test_a_step_is_the_same_however_often_drawn_and_split_among_processes(tmp_path):
    pool = ViewPool([write(tmp_path, 1, 30)])
    drawer = RowDrawer(pool.category, np.zeros(30, int), (1.0,), (1.0,) * 6)
    whole, again = (StepRows(pool, drawer, 8, seed=3)[5][0] for _ in range(2))
    halves = [StepRows(pool, drawer, 8, 3, rank, 2)[5][0] for rank in (0, 1)]
    np.testing.assert_array_equal(whole["depth"], again["depth"])
    np.testing.assert_array_equal(np.stack([half["depth"] for half in halves], 1).reshape(8, 72, 72), whole["depth"])
    assert not np.array_equal(StepRows(pool, drawer, 8, 3)[6][0]["depth"], whole["depth"])
