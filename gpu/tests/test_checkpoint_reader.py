"""Every layout of a Hugging Face checkpoint reads the same, and what is broken is named."""

from __future__ import annotations

import hashlib
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flava_gpu.checkpoint_errors import (
    CheckpointCorruptError,
    CheckpointDtypeError,
    CheckpointFileMissingError,
    CheckpointTensorError,
    CheckpointUnsafeError,
)
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.standin import Kind, Layout, write_standin
from flava_gpu.weight_files import load_state_dict

WEIGHT = "text_model.encoder.layer.0.attention.attention.query.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_standin(folder, "tiny", 0)
    return folder


def copy_of(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("model", "sharded"),
        ("model", "bin"),
        ("model", "sharded-bin"),
        ("pretraining", "safetensors"),
        ("pretraining", "bin"),
        ("pretraining", "sharded-bin"),
    ],
)
def test_every_layout_gives_flava_model_names_and_the_same_values(
    whole: Path, tmp_path: Path, kind: Kind, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 200_000)
    monkeypatch.setattr("flava_gpu.weight_files.REMAP_BYTES", 100_000)
    write_standin(tmp_path, "tiny", 0, kind, layout)
    expected, reader = CheckpointReader(whole), CheckpointReader(tmp_path)
    assert reader.names() == expected.names()
    assert (len(reader.weight_paths) > 3) == layout.startswith("sharded")
    assert {path.suffix for path in reader.weight_paths} == {".bin" if layout.endswith("bin") else ".safetensors"}
    for name in expected.names():
        np.testing.assert_array_equal(reader.tensor(name), expected.tensor(name))
        assert reader.shape(name) == expected.shape(name)
    assert any(name.startswith("mlm_head.") for name in reader.other_names()) == (kind == "pretraining")


def test_one_shard_is_mapped_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 200_000)
    write_standin(tmp_path, "tiny", 0, "model", "sharded-bin")
    mapped: list[weakref.ReferenceType[torch.Tensor]] = []

    def load(path: Path) -> dict[str, torch.Tensor]:
        state = load_state_dict(path)
        mapped.append(weakref.ref(next(iter(state.values()))))
        return state

    monkeypatch.setattr("flava_gpu.weight_files.load_state_dict", load)
    reader = CheckpointReader(tmp_path)
    for name in reader.names():
        reader.tensor(name)
        assert sum(reference() is not None for reference in mapped) == 1
    assert len(mapped) > 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("is_bin", [False, True])
def test_other_float_formats_widen_to_float32_exactly(
    whole: Path, tmp_path: Path, dtype: torch.dtype, is_bin: bool
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in load_file(whole / "model.safetensors").items()}
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    if is_bin:
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        save_file(state, tmp_path / "model.safetensors")
    tensor = CheckpointReader(tmp_path).tensor(WEIGHT)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, state[WEIGHT].float().numpy())


def test_a_sharded_checkpoint_is_known_by_the_hashes_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 400_000)
    sha256 = write_standin(tmp_path, "tiny", 0, "model", "sharded")
    lines = [
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(tmp_path.glob("*.safetensors"))
    ]
    assert sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_file_from_before_pytorch_1_6_is_read_all_the_same(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    state = load_file(whole / "model.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(CheckpointReader(tmp_path).tensor(WEIGHT), state[WEIGHT].numpy())


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointFileMissingError, match=r"expected one of model\.safetensors, pytorch_model\.bin"):
        CheckpointReader(tmp_path)


@pytest.mark.parametrize("layout", ["sharded", "sharded-bin"])
def test_a_missing_shard_is_named(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 400_000)
    write_standin(tmp_path, "tiny", 0, "model", layout)
    missing = next(tmp_path.glob("*model-00002-of-*"))
    missing.unlink()
    with pytest.raises(CheckpointFileMissingError, match=missing.name):
        CheckpointReader(tmp_path)


@pytest.mark.parametrize("keep_bytes", [4, 1000, 200_000])
def test_a_truncated_safetensors_file_is_refused_when_opened(whole: Path, tmp_path: Path, keep_bytes: int) -> None:
    folder = copy_of(whole, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep_bytes])
    with pytest.raises(CheckpointCorruptError, match="truncated"):
        CheckpointReader(folder)


def test_a_truncated_pickle_is_refused_when_opened(tmp_path: Path) -> None:
    write_standin(tmp_path, "tiny", 0, "model", "bin")
    weights = tmp_path / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(CheckpointCorruptError, match="not a whole PyTorch file"):
        CheckpointReader(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}',
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointCorruptError, match=r"model\.safetensors"):
        CheckpointReader(tmp_path)


def test_an_unknown_number_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointDtypeError, match="a: expected one of F64, F32, F16, BF16, got F8_E4M3"):
        CheckpointReader(tmp_path)


class Payload:
    """What a hostile file would build when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("loaded",))


def test_a_pickle_of_more_than_tensors_is_refused_unbuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save({"weight": torch.zeros(2), "more": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointUnsafeError, match="weights-only"):
        CheckpointReader(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_shard_of_more_than_tensors_is_refused_unbuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 400_000)
    write_standin(tmp_path, "tiny", 0, "model", "sharded-bin")
    shard = next(tmp_path.glob("pytorch_model-00002-of-*.bin"))
    torch.save({"weight": torch.zeros(2), "more": Payload()}, shard)
    capsys.readouterr()
    with pytest.raises(CheckpointUnsafeError, match=rf"{shard.name}: refused by weights-only loading"):
        CheckpointReader(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_tensor_that_is_not_there_is_named(whole: Path) -> None:
    with pytest.raises(CheckpointTensorError, match=r"text_model\.nothing is missing"):
        CheckpointReader(whole).tensor("text_model.nothing")
