"""Bad files of a data set: each is told by its line or its name, and nothing is written that a mended run would trip over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flava_gpu import data_checks
from flava_gpu.data_checks import available_bytes, check_memory, load_pictures, read_checked, warn_of_rare_classes
from flava_gpu.jsonl import MAX_ERRORS
from flava_gpu.pairs import load_pairs, load_training_pairs
from flava_gpu.training.errors import TrainingError
from tests.tiny import run_stage, text_config, write_config, write_data

LINE = 5
Row = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "data")


def change_line(path: Path, change: Callable[[Row], Row | str], line: int = LINE) -> None:
    lines = path.read_text().splitlines()
    changed = change(json.loads(lines[line - 1]))
    lines[line - 1] = changed if isinstance(changed, str) else json.dumps(changed)
    path.write_text("\n".join(lines) + "\n")


def without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


BAD_ROWS: list[tuple[str, Callable[[Row], Row | str], str]] = [
    ("pairs.jsonl", lambda row: without(row, "image"), "has no 'image', columns found: 'style'"),
    (
        "pairs.jsonl",
        lambda row: {**without(row, "captions"), "caption": "a"},
        "has no 'captions'.*'caption' looks like it",
    ),
    ("pairs.jsonl", lambda row: without(row, "base"), "has no 'base'"),
    ("pairs.jsonl", lambda row: without(row, "group"), "has no 'group'"),
    ("pairs.jsonl", lambda row: {**row, "name": 5}, "'name': expected a string, found a number"),
    ("pairs.jsonl", lambda row: {**row, "name": " "}, "'name' is empty"),
    ("pairs.jsonl", lambda row: {**row, "skin": "no"}, "'skin': expected true or false, found a string"),
    ("pairs.jsonl", lambda row: {**row, "style_role": "train"}, "'style_role': expected one of train-style, dev-style"),
    ("pairs.jsonl", lambda row: {**row, "concept_split": "trian"}, "'concept_split': expected one of train, dev, test"),
    ("pairs.jsonl", lambda row: {**row, "captions": {"de": ["a"]}}, "'captions' has no 'en'"),
    (
        "pairs.jsonl",
        lambda row: {**row, "captions": {"en": []}},
        "'en' expected a list of captions, found an empty one",
    ),
    ("pairs.jsonl", lambda row: {**row, "captions": {"en": ["a", ""]}}, "'en' caption 2 is empty"),
    ("pairs.jsonl", lambda row: {**row, "image": "ink/00.png"}, "image 'ink/00.png' stood in line 1 already"),
    (
        "pairs.jsonl",
        lambda row: {**row, "style": "ink", "key": "00"},
        "style 'ink' and key '00' stood in line 1 already",
    ),
    ("pairs.jsonl", lambda row: json.dumps(row)[:-9], "not JSON"),
    ("pairs.jsonl", lambda row: json.dumps([row]), "expected a JSON object, found a list"),
    ("pairs.jsonl", lambda row: json.dumps(row)[:-1] + ', "skin": true}', "the key 'skin' stands twice"),
    ("icons.jsonl", lambda row: {**row, "captions": []}, "expected a list of captions, found an empty one"),
    ("icons.jsonl", lambda row: {**row, "image": "icons/bolt.png"}, "'icons/bolt.png' stood in line 3 already"),
    ("outlines.jsonl", lambda row: without(row, "variant"), "has no 'variant'"),
    ("outlines.jsonl", lambda row: {**row, "variant": "outlin"}, "'variant': expected one of outlined, line"),
    ("glosses.jsonl", lambda row: {**row, "gloss": ""}, "'gloss' is empty"),
]


@pytest.mark.parametrize(("file", "change", "message"), BAD_ROWS)
def test_a_bad_row_is_named_by_file_and_line(
    data: Path, file: str, change: Callable[[Row], Row | str], message: str
) -> None:
    read_checked(data / file)
    change_line(data / file, change)
    with pytest.raises(TrainingError, match=message) as caught:
        read_checked(data / file)
    assert caught.value.code == "invalid_data"
    assert caught.value.line == LINE
    assert f"{data / file}: line {LINE}" in str(caught.value)


def test_all_bad_rows_up_to_a_limit_are_told_at_once(data: Path) -> None:
    for line in (2, 4, 6):
        change_line(data / "pairs.jsonl", lambda row: {**row, "name": ""}, line)
    with pytest.raises(TrainingError, match=r"line 2: .*; line 4: .*; line 6: "):
        load_pairs(data, "train-style", "train")
    for line in range(1, 30):
        change_line(data / "pairs.jsonl", lambda row: {**row, "name": ""}, line)
    with pytest.raises(TrainingError, match="others may follow") as caught:
        load_training_pairs(data)
    assert str(caught.value).count("'name' is empty") == MAX_ERRORS


def test_a_file_of_other_columns_is_checked_for_json_alone(tmp_path: Path) -> None:
    (tmp_path / "mail.jsonl").write_text('{"text": "a\u2028b"}\n{"text": "half \\ud800"}\n', encoding="utf-8")
    assert len(read_checked(tmp_path / "mail.jsonl")) == 2
    (tmp_path / "mail.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(TrainingError, match="line 2: not JSON"):
        read_checked(tmp_path / "mail.jsonl")


def break_picture(data: Path, how: str) -> str:
    path = data / "images" / "ink" / "03.png"
    if how == "missing":
        path.unlink()
        return "ink/03.png: the file is missing"
    if how == "no picture":
        path.write_text("<svg/>")
        return "ink/03.png: the file is no picture"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
        return "ink/03.png: the picture cannot be read"
    Image.new("RGBA", (24, 16)).save(path)
    return "ink/03.png: expected 16 x 16 pixels, got 24 x 16"


@pytest.mark.parametrize("how", ["missing", "no picture", "cut", "another size"])
def test_a_bad_picture_is_named(data: Path, how: str) -> None:
    message = break_picture(data, how)
    with pytest.raises(TrainingError, match=message) as caught:
        load_training_pairs(data)
    assert caught.value.code == "unreadable_pictures"


def test_a_first_picture_that_is_missing_is_named_too(data: Path) -> None:
    (data / "images" / "ink" / "00.png").unlink()
    with pytest.raises(TrainingError, match=r"ink/00\.png: the file is missing"):
        load_training_pairs(data)


def test_many_bad_pictures_are_told_together(data: Path) -> None:
    for path in (data / "images" / "oil").iterdir():
        path.unlink()
    with pytest.raises(TrainingError) as caught:
        load_training_pairs(data)
    assert str(caught.value).count("the file is missing") == 10


def test_pictures_are_loaded_channel_first_as_pillow_reads_them(data: Path) -> None:
    pixels = load_pictures(data / "images", ["ink/01.png", "oil/02.png"], "some")
    with Image.open(data / "images" / "oil" / "02.png") as image:
        expected = np.asarray(image.convert("RGBA"))
    assert pixels.shape == (2, 4, 16, 16)
    assert np.array_equal(pixels[1].transpose(1, 2, 0), expected)


def test_too_little_memory_is_told_with_both_amounts_before_a_picture_is_read(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "images" / "oil" / "01.png").unlink()  # would be told if it came to reading
    monkeypatch.setattr(data_checks, "available_bytes", lambda: 1000)
    with pytest.raises(TrainingError, match=r"45 pictures of 16 px \(training\) need 0\.00 GiB .* 0\.00 GiB") as caught:
        load_training_pairs(data)
    assert caught.value.code == "too_little_memory"
    with pytest.raises(TrainingError, match=r"need 3\.00 GiB of memory, 2\.00 GiB are available"):
        check_memory(3 * 1024**3, "pictures", 2 * 1024**3)
    check_memory(3 * 1024**3, "pictures", None)


def test_available_memory_is_the_lesser_of_the_machines_and_the_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_checks, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(data_checks, "CGROUP", tmp_path)
    assert available_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:  800 kB\n")
    assert available_bytes() == 800 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1024\n")
    assert available_bytes() == 800 * 1024
    (tmp_path / "memory.max").write_text("4096\n")
    assert available_bytes() == 3072


def test_a_class_with_one_example_is_warned_of_by_name(caplog: pytest.LogCaptureFixture) -> None:
    assert warn_of_rare_classes(["cat", "dog", "cat", "eel", "dog"], "probe.jsonl") == ["eel"]
    assert "probe.jsonl: classes with fewer than 2 examples: 'eel'" in caplog.text
    caplog.clear()
    assert warn_of_rare_classes(["cat", "cat"], "probe.jsonl") == []
    assert not caplog.records


def test_a_run_on_bad_data_writes_nothing_and_goes_from_the_start_once_the_row_is_mended(
    data: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "text.yaml", text_config(data))
    line = (data / "pairs.jsonl").read_text()
    change_line(data / "pairs.jsonl", lambda row: {**row, "captions": {"en": [""]}})
    with pytest.raises(TrainingError, match=rf"pairs\.jsonl: line {LINE}"):
        run_stage("text", config, tmp_path / "runs")
    assert list((tmp_path / "runs" / "text").iterdir()) == []
    (data / "pairs.jsonl").write_text(line)
    run_stage("text", config, tmp_path / "runs")
    assert (tmp_path / "runs" / "text" / "model.safetensors").exists()
