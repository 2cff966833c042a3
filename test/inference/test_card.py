import dataclasses
from pathlib import Path

import pytest
import yaml

from clipose_ros.core.calibration import Calibration
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.inference.card import find_model, read_card, read_network, record_from
from clipose_ros.segmenters.centre_votes import VoteSettings
from clipose_ros.segmenters.depth import DepthSegmenterSettings


def edit(folder, **changes):
    """Rewrite the card with keys changed, or removed where the change is None; a key with a dot is one of a mapping."""
    path = folder / "card.yaml"
    data = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split("__")
        inside = data
        for name in outer:
            inside = inside[name]
        inside.pop(last) if value is None else inside.update({last: value})
    path.write_text(yaml.safe_dump(data))


def test_a_written_card_reads_back(write_model):
    folder = write_model(training={"clouds": 180000}, accuracy={"10deg_5cm": 0.7}, licence="MIT")
    card = read_card(folder)
    assert (card.name, card.estimator, card.licence) == ("tiny", "clipose", "MIT")
    assert card.training == {"clouds": 180000} and card.accuracy == {"10deg_5cm": 0.7}
    assert card.symmetry["can"] is Symmetry.Y and card.symmetry["mug"] is Symmetry.NONE
    network = card.network("pose")
    assert network.inputs == {"points": ("batch", 1024, 3), "category": ("batch",)} and network.precision == "fp32"
    assert read_network(folder, network) == (folder / "model.onnx").read_bytes()


def test_a_changed_network_file_is_refused(write_model):
    folder = write_model()
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(
        ValueError, match="model.onnx: expected sha256 [0-9a-f]{64} as card.yaml says, got [0-9a-f]{64}"
    ):
        read_network(folder, read_card(folder).network("pose"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:5945\nsize 435\n",
            "a pointer of Git LFS.*git lfs pull",
        ),
        (b"", "an empty file; get the model's folder again"),
        (b"half", "[0-9a-f]{64} of 4 bytes; get the model's folder again"),
    ],
)
def test_a_network_that_did_not_arrive_is_told_for_what_it_is(write_model, content, said):
    """onnx/models#317, netron#463: a clone without Git LFS holds pointers."""
    folder = write_model()
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=f"model.onnx: expected sha256 .* as card.yaml says, got {said}"):
        read_network(folder, read_card(folder).network("pose"))


def test_a_missing_network_file_is_named(write_model):
    folder = write_model()
    (folder / "model.onnx").unlink()
    with pytest.raises(ValueError, match="model.onnx: expected the network file that card.yaml names, got none"):
        read_network(folder, read_card(folder).network("pose"))


def test_a_network_that_the_card_lacks_is_named(write_model):
    with pytest.raises(ValueError, match="networks: expected backbone for estimator clipose, got pose"):
        read_card(write_model()).network("backbone")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": {"mug": 0.2}}, "keys: expected only name, .* got scales"),
        ({"names": None, "estimator": None}, "keys: expected all of .* got none for estimator, names"),
        ({"networks__pose__sha256": "abc"}, "networks.pose.sha256: expected 64 hexadecimal digits, got abc"),
        ({"networks__pose__file": "../elsewhere.onnx"}, "networks.pose.file: expected a file name without folders"),
        ({"networks__pose__inputs": None}, "networks.pose.keys: expected all of .* got none for inputs"),
        ({"networks__pose__weights": 3}, "networks.pose.keys: expected only file, .* got weights"),
        ({"networks__pose__outputs": {"size": 3}}, "networks.pose.outputs: expected a shape, as a list, for each name"),
        ({"networks": None}, "networks: expected a mapping of names to networks, got None"),
        ({"names": "mug"}, "names: expected a list of names, got mug"),
        ({"names": ["mug", "mug"]}, "names: expected different names"),
        ({"symmetry": {"jug": "none"}}, "symmetry: expected some of bottle"),
        ({"symmetry": {"mug": "round"}}, "symmetry.mug: expected one of none, y_axis, got round"),
        ({"rests": {"jug": ["y"]}}, "rests: expected some of bottle"),
        ({"rests": {"mug": ["up"]}}, "rests.mug: expected a list of y, -y, x, -x, z, -z, side, got"),
        ({"settings": [1]}, "settings: expected a mapping"),
        ({"training": 3}, "training: expected a mapping, got 3"),
        ({"licence": ""}, "licence: expected a text"),
        (
            {"networks": None, "file": "model.onnx"},
            "networks: expected a mapping, got a card of clipose_ros 0.1; export",
        ),
    ],
)
def test_a_malformed_card_is_refused_with_its_path_and_key(write_model, changes, message):
    folder = write_model()
    edit(folder, **changes)
    with pytest.raises(ValueError, match=f"card.yaml: {message}"):
        read_card(folder)


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b", "", "!!python/object/apply:os.getcwd []", "[" * 5000])
def test_what_is_no_card_is_refused(write_model, text):
    folder = write_model()
    (folder / "card.yaml").write_text(text)
    with pytest.raises(ValueError, match="card.yaml: "):
        read_card(folder)


def test_an_oversized_card_is_refused(write_model):
    folder = write_model()
    (folder / "card.yaml").write_text("#" * 70000)
    with pytest.raises(ValueError, match="expected at most 65536 bytes, got 70000"):
        read_card(folder)


def test_models_are_found_by_name_by_path_and_in_sourced_workspaces(write_model, tmp_path, monkeypatch):
    folder = write_model()
    assert find_model("tiny", tmp_path / "models") == folder
    assert find_model(str(folder)) == folder
    share = tmp_path / "workspace" / "share" / "clipose_ros"
    share.mkdir(parents=True)
    folder.parent.rename(share / "models")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'workspace'}")
    assert find_model("tiny") == share / "models" / "tiny"


def test_a_slash_at_the_end_may_be_of_a_name_or_of_a_path(write_model, tmp_path, monkeypatch):
    """As the shell completes it."""
    folder = write_model()
    monkeypatch.chdir(tmp_path)
    assert find_model(f"{folder.name}/", folder.parent) == folder
    assert find_model(f"{folder}/") == folder
    monkeypatch.chdir(folder.parent)
    assert find_model(f"{folder.name}/", tmp_path).resolve() == folder


def test_an_unknown_model_is_refused_with_the_names_that_there_are(write_model, tmp_path):
    write_model()
    with pytest.raises(ValueError, match="model: expected one of tiny in .*models, got huge"):
        find_model("huge", tmp_path / "models")


def test_a_file_of_a_model_in_place_of_its_folder_is_said(write_model):
    folder = write_model()
    with pytest.raises(ValueError, match=f"model: expected a folder, got a file; give {folder}"):
        find_model(str(folder / "model.onnx"))
    with pytest.raises(ValueError, match="models_dir: expected a folder, got /nowhere"):
        find_model("tiny", Path("/nowhere"))


@pytest.mark.parametrize("settings", [DepthSegmenterSettings, VoteSettings, Calibration])
def test_words_in_place_of_numbers_are_refused(settings):
    """Whatever dataclass compares them."""
    for field in dataclasses.fields(settings):
        values = {one.name: ["x"] for one in dataclasses.fields(settings) if one.default is dataclasses.MISSING}
        with pytest.raises(ValueError, match="expected"):
            record_from(settings, {**values, field.name: "high"})
