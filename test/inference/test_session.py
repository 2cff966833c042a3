import hashlib
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from clipose_ros.inference import session as session_module
from clipose_ros.inference import tensorrt
from clipose_ros.inference.card import read_card
from clipose_ros.inference.providers import PROVIDERS
from clipose_ros.inference.session import Session, SessionConfig, wait_briefly


def test_card_and_network_must_agree_on_names_and_shapes(write_model):
    folder = write_model(inputs={"points": ("batch", 512, 3), "category": ("batch",)})
    with pytest.raises(
        ValueError, match=r"inputs.points: expected \['batch', 512, 3\] as the card says, got \['batch', 1024, 3\]"
    ):
        Session(folder, read_card(folder).network("pose"))
    folder = write_model(outputs={"pose": ("batch", 7)})
    with pytest.raises(ValueError, match="outputs: expected pose as the card says, got y_axis"):
        Session(folder, read_card(folder).network("pose"))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_cannot_be_had_is_refused_unless_the_cpu_is_allowed(write_model, provider):
    if PROVIDERS[provider][0] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    folder = write_model()
    with pytest.raises(RuntimeError, match=f"provider: expected .* got {provider}; set allow_cpu"):
        Session(folder, read_card(folder).network("pose"), SessionConfig(provider))
    assert Session(folder, read_card(folder).network("pose"), SessionConfig(provider, allow_cpu=True)).provider == "cpu"


@pytest.fixture
def built_for_a_gpu(monkeypatch):
    """Let ONNX Runtime look built for CUDA, and say that it runs on `starts`; give what sessions ask of it."""
    asked, real = SimpleNamespace(providers=[], fails=(), starts=PROVIDERS["cpu"]), onnxruntime.InferenceSession

    def session(content, options, providers, enable_fallback):
        asked.providers.append(providers)
        if providers[0][0] in asked.fails:
            raise RuntimeError("Please install TensorRT libraries")
        assert not enable_fallback  # it would print, and forget the options
        made = real(content, options, providers=PROVIDERS["cpu"])
        monkeypatch.setattr(made, "get_providers", lambda: list(asked.starts))
        return made

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS["tensorrt"]))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


def test_cuda_multiplies_in_full_and_does_not_stop_to_search_at_each_new_batch(write_model, built_for_a_gpu):
    built_for_a_gpu.starts = PROVIDERS["cuda"]
    folder = write_model()
    assert Session(folder, read_card(folder).network("pose"), SessionConfig("cuda")).provider == "cuda"
    (first, options), last = built_for_a_gpu.providers[0]
    assert (first, last) == (PROVIDERS["cuda"][0], (PROVIDERS["cpu"][0], {}))
    assert options == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def test_a_refusal_names_the_libraries_that_are_missing(write_model, built_for_a_gpu, monkeypatch):
    """ONNX Runtime alone starts on the CPU, and says why on the standard error."""
    folder = write_model()
    card = read_card(folder)
    for lacking, said in (
        (["libcurand.so.10", "libcublas.so.13"], "libcurand.so.10, libcublas.so.13 cannot be"),
        ([], "its libr"),
    ):
        monkeypatch.setattr(session_module, "load_cuda_libraries", lambda runtime, lacking=lacking: lacking)
        with pytest.raises(RuntimeError, match=f"expected CUDAExecutionProvider .*: {said}"):
            Session(folder, card.network("pose"), SessionConfig("cuda"))
    assert Session(folder, card.network("pose"), SessionConfig("cuda", allow_cpu=True)).provider == "cpu"


def test_where_tensorrt_does_not_start_cuda_does_with_its_options_if_that_is_allowed(
    write_model, built_for_a_gpu, monkeypatch, tmp_path, capsys
):
    """onnxruntime-gpu 1.31.1 without libnvinfer raises a RuntimeError."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tensorrt, "gpu_name", lambda: "GPU")
    built_for_a_gpu.fails, built_for_a_gpu.starts = PROVIDERS["tensorrt"][:1], PROVIDERS["cuda"]
    folder = write_model()
    card = read_card(folder)
    with pytest.raises(
        RuntimeError, match="expected TensorrtExecutionProvider .*, got CUDA.*: Please install TensorRT"
    ):
        Session(folder, card.network("pose"), SessionConfig("tensorrt"))
    assert Session(folder, card.network("pose"), SessionConfig("tensorrt", allow_cpu=True)).provider == "cuda"
    assert built_for_a_gpu.providers[-1][0] == (PROVIDERS["cuda"][0], session_module.CUDA_OPTIONS)
    assert capsys.readouterr().out == ""


def test_the_cpu_looks_for_no_libraries_of_cuda(write_model, monkeypatch):
    monkeypatch.setattr(session_module, "load_cuda_libraries", lambda runtime: pytest.fail("looked for"))
    folder = write_model()
    assert Session(folder, read_card(folder).network("pose")).provider == "cpu"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="provider: expected one of cpu, cuda, tensorrt, got gpu"):
        SessionConfig("gpu")
    for threads in (-1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="threads: expected 0"):
            SessionConfig(threads=threads)


def test_tensorrt_without_a_gpu_is_refused_unless_the_cpu_is_allowed(write_model, monkeypatch):
    """An ONNX Runtime that was built with TensorRT, on a machine whose GPU cannot be asked for its name."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS["tensorrt"]))
    monkeypatch.setenv("PATH", "")
    folder = write_model()
    with pytest.raises(RuntimeError, match="provider tensorrt: expected an NVIDIA GPU .*; set allow_cpu"):
        Session(folder, read_card(folder).network("pose"), SessionConfig("tensorrt"))
    assert (
        Session(folder, read_card(folder).network("pose"), SessionConfig("tensorrt", allow_cpu=True)).provider == "cpu"
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_cores_share_the_clouds_and_change_nothing(tiny_model, batch):
    """However many cores take part, each cloud gets what it gets alone, in its place."""
    points = np.random.default_rng(batch).normal(0, 0.3, (batch, 1024, 3)).astype(np.float32)
    category = np.arange(batch) % 6
    sessions = [
        Session(tiny_model, read_card(tiny_model).network("pose"), SessionConfig(threads=threads)) for threads in (1, 3)
    ]
    alone = [sessions[0].run({"points": points[i : i + 1], "category": category[i : i + 1]}) for i in range(batch)]
    for session in sessions:
        for name, value in session.run({"points": points, "category": category}).items():
            np.testing.assert_allclose(value, np.concatenate([outputs[name] for outputs in alone]), atol=1e-5)


def test_no_cloud_gives_empty_outputs(tiny_model):
    session = Session(tiny_model, read_card(tiny_model).network("pose"))
    outputs = session.run({"points": np.empty((0, 1024, 3), np.float32), "category": np.empty(0, np.int64)})
    assert {name: value.shape for name, value in outputs.items()} == {
        name: (0, *shape[1:]) for name, shape in session.network.outputs.items()
    }


def test_a_cache_that_cannot_be_made_is_named_with_the_cure(write_model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS["tensorrt"]))
    monkeypatch.setattr(tensorrt, "gpu_name", lambda: "GPU")
    folder = write_model()
    with pytest.raises(RuntimeError, match="expected a folder for TensorRT's engines, got .*; set XDG_CACHE_HOME"):
        Session(folder, read_card(folder).network("pose"), SessionConfig("tensorrt"))


@pytest.mark.parametrize("newer", ["ir_version", "opset"])
def test_a_network_that_is_newer_than_onnx_runtime_is_refused_in_one_sentence(write_model, newer):
    """onnxruntime#20559: `Unsupported model IR version: 10, max supported IR version: 9`, as a traceback."""
    folder = write_model()
    path, card = folder / "model.onnx", folder / "card.yaml"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    network = onnx.load(path)
    if newer == "opset":
        network.opset_import[0].version = 999
    else:
        network.ir_version = 999
    path.write_bytes(network.SerializeToString())
    card.write_text(card.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(
        ValueError, match="model.onnx: expected an ONNX network that onnxruntime .*999.*newer onnxruntime"
    ):
        Session(folder, read_card(folder).network("pose"))


@pytest.mark.parametrize("version, waits", [("1.31.1", True), ("1.27.0", True), ("1.26.3", False), ("2.0.0rc1", True)])
def test_cores_wait_awake_only_where_onnx_runtime_can_limit_how_long(version, waits):
    class Options(dict):
        add_session_config_entry = dict.__setitem__

    options = Options()
    wait_briefly(options, version)
    assert options["session.intra_op.allow_spinning"] == str(int(waits))
    assert ("session.intra_op.spin_duration_us" in options) == waits
