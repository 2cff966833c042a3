"""What TensorRT is told, and what keeps a stale engine from being loaded.

Engines themselves need a GPU and are not built here.
"""

from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest

from clipose_ros.inference import tensorrt
from clipose_ros.inference.card import read_card
from clipose_ros.inference.session import Session, SessionConfig
from clipose_ros.inference.tensorrt import EngineKey, cache_folder, engine_key, gpu_name, provider_options

KEY = EngineKey(
    model="a" * 64, onnxruntime="1.0", tensorrt="10.0", gpu="GPU, 9.0, 570", precision="fp16", largest_batch=32
)


@pytest.mark.parametrize("name", [field.name for field in fields(EngineKey)])
def test_whatever_differs_another_folder_is_used(tmp_path, name):
    other = replace(KEY, **{name: 64 if name == "largest_batch" else "b" * 64})
    assert other.folder(tmp_path) != KEY.folder(tmp_path)
    assert replace(other, **{name: getattr(KEY, name)}).folder(tmp_path) == KEY.folder(tmp_path)


def test_one_engine_serves_every_batch_up_to_the_largest(tiny_model, tmp_path):
    options = provider_options(read_card(tiny_model).network("pose"), KEY, tmp_path)
    assert options["trt_profile_min_shapes"] == "points:1x1024x3,category:1"
    assert options["trt_profile_opt_shapes"] == "points:5x1024x3,category:5"
    assert options["trt_profile_max_shapes"] == "points:32x1024x3,category:32"
    assert options["trt_engine_cache_enable"] == "1" and options["trt_engine_cache_path"] == str(KEY.folder(tmp_path))
    assert options["trt_fp16_enable"] == "1"
    assert (
        provider_options(read_card(tiny_model).network("pose"), replace(KEY, precision="fp32"), tmp_path)[
            "trt_fp16_enable"
        ]
        == "0"
    )


def test_the_key_names_this_machine_and_this_model(tiny_model, monkeypatch):
    monkeypatch.setattr(tensorrt, "gpu_name", lambda: "GPU")
    network = read_card(tiny_model).network("pose")
    key = engine_key(network, "fp32", 8)
    assert (key.model, key.onnxruntime, key.gpu) == (network.sha256, onnxruntime.__version__, "GPU")


def test_without_a_gpu_the_reason_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="provider tensorrt: expected an NVIDIA GPU that nvidia-smi knows"):
        gpu_name()


def test_engines_lie_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "clipose_ros" / "tensorrt"


def test_a_batch_beyond_the_largest_goes_in_parts(tiny_model):
    session = Session(tiny_model, read_card(tiny_model).network("pose"))
    points = np.random.default_rng(0).random((7, 1024, 3), dtype=np.float32)
    inputs = {"points": points, "category": np.arange(7) % 6}
    whole = session.run(inputs)
    session._largest_batch = 3
    for name, value in session.run(inputs).items():
        np.testing.assert_allclose(value, whole[name], atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"precision": "int8"}, "precision: expected fp32 or fp16"), ({"largest_batch": 0}, "largest_batch: expected 1")],
)
def test_impossible_engines_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        SessionConfig("tensorrt", **setting)


def test_a_network_with_another_free_dimension_is_refused(tiny_model, tmp_path):
    network = read_card(tiny_model).network("pose")
    free = replace(network, inputs={"colour": ("batch", 3, "height", "width")})
    with pytest.raises(
        ValueError, match="inputs: expected fixed dimensions but 'batch', for TensorRT, got batch, height"
    ):
        provider_options(free, KEY, tmp_path)
