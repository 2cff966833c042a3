"""The depth segmenter's networks in 8 bits."""

import shutil

import numpy as np
import pytest

from clipose_ros.inference.card import find_model, read_card
from clipose_ros.inference.session import Session
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.depth import INT8, MASKS, NAMES
from training import quantise_segmenter as module
from training.quantise_segmenter import quantise_segmenter, seen_by_networks


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The shipped segmenter, quantised on a few scenes."""
    folder = tmp_path_factory.mktemp("models") / "segmenter-depth"
    shutil.copytree(find_model("segmenter-depth"), folder)
    quantise_segmenter(folder, scenes=25)
    return folder


def test_the_cpu_runs_8_bits_where_a_card_has_them_and_a_quarter_of_the_file(model):
    card = read_card(model)
    assert set(card.networks) == {MASKS, NAMES, MASKS + INT8, NAMES + INT8}
    assert segmenter_of(model).facts()["segmenter precision"] == "int8"
    for key in (MASKS, NAMES):
        whole, small = (model / card.network(k).file for k in (key, key + INT8))
        assert small.stat().st_size < 0.35 * whole.stat().st_size


def test_8_bits_say_what_32_say(model):
    card = read_card(model)
    channels, crops = next(one for one in seen_by_networks(3, 5, True) if len(one[1]))
    for key, given, name in ((MASKS, channels, "channels"), (NAMES, crops, "crops")):
        answers = []
        for network in (card.network(key), card.network(key + INT8)):
            (answer,) = Session(model, network).run({name: given}).values()
            answers.append(answer[:, :2] if key == MASKS else answer)  # of object and of centre
        chances = [1 / (1 + np.exp(-answer)) for answer in answers]
        assert np.abs(chances[0] - chances[1]).mean() < 0.02


def test_networks_that_say_something_else_are_refused_and_the_card_stays(model, tmp_path, monkeypatch):
    folder = tmp_path / "segmenter-depth"
    shutil.copytree(model, folder)
    before = (folder / "card.yaml").read_bytes()
    monkeypatch.setattr(module, "SAME_OBJECT", 0.9)
    monkeypatch.setattr(module, "SAME_NAME", 1.01)
    with pytest.raises(ValueError, match=r"names: expected 101.0 % of the answers as in fp32, got \d"):
        quantise_segmenter(folder, scenes=10)
    assert (folder / "card.yaml").read_bytes() == before
    segmenter_of(folder)  # nor has a file changed of which it holds the hash
