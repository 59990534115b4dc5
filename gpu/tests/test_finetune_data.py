"""Data sets for fine-tuning: every fault is named with its file and line, before anything is trained."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.dataset import DatasetLoader, Datasets, Sources
from flava_gpu.finetune.rows import MAX_NAME_CHARACTERS, Target
from flava_gpu.jsonl import MAX_ERRORS
from flava_gpu.procedural_pictures import IntegerRandom
from flava_gpu.training.errors import TrainingError
from tests.finetune_job import data_uri, picture, write_rows

GOOD: list[dict[str, Any]] = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(12)]


def load(
    folder: Path, training: Path, target: Target = "label", validation: Path | None = None, *, texts: bool = False
) -> tuple[Datasets, list[str]]:
    warnings: list[str] = []
    sources = Sources(training, validation, [])
    loader = DatasetLoader(sources, target, 16, folder, warnings.append, lambda done, total: None)
    return loader.load(Ranks(), allows_text_only=texts), warnings


def refusal(folder: Path, lines: list[str], target: Target = "label") -> TrainingError:
    (folder / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(TrainingError) as caught:
        load(folder, folder / "t.jsonl", target)
    return caught.value


def good_lines() -> list[str]:
    return [json.dumps(row) for row in GOOD]


@pytest.mark.parametrize(
    ("target", "line", "said"),
    [
        ("label", '{"text": "a", "label": ', "not JSON"),
        ("label", '[{"text": "a"}]', "expected a JSON object, found a list"),
        ("label", '{"text": "a", "lable": "x"}', "'lable' looks like 'label'"),
        ("label", '{"txt": "a", "label": "x"}', "columns found: 'txt', 'label'; expected"),
        ("label", '{"messages": [], "label": "x"}', "chat messages are for language models"),
        ("label", '{"text": "  ", "label": "x"}', "'text' is empty"),
        ("label", '{"text": "a", "label": " "}', "'label' is empty"),
        ("label", '{"text": "a", "label": null}', "'label': expected a string, found null"),
        ("label", '{"text": "a", "label": "ba\\ud800d"}', "'label': half a surrogate pair"),
        ("label", '{"text": "a\\udc00", "label": "x"}', "'text': half a surrogate pair"),
        ("label", '{"text": "a", "label": "x", "\\ud800": 1}', "a key: half a surrogate pair"),
        ("label", '{"text": 5, "label": "x"}', "'text': expected a string, found a number"),
        ("label", '{"text": "a", "label": "x", "label": "y"}', "the key 'label' stands twice"),
        ("label", '{"text": "a", "texts": ["b"], "label": "x"}', "both 'text' and 'texts'"),
        ("label", '{"text": "a", "image": "a.png", "label": "x"}', "has text and picture, line 1 has text alone"),
        ("value", '{"text": "a", "value": NaN}', "expected a finite number"),
        ("value", '{"text": "a", "value": Infinity}', "expected a finite number"),
        ("value", '{"text": "a", "value": "3"}', "'value': expected a number, found a string"),
        ("value", '{"text": "a", "value": true}', "'value': expected a number, found a boolean"),
        ("pair", '{"image": "a.png"}', 'expected {"image": "…", "text": "…"}'),
        ("pair", '{"image": "a.png", "texts": []}', "expected a list of texts"),
        ("pair", '{"image": "https://example.org/a.png", "text": "a"}', "is a URL; pictures are not fetched"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, target: Target, line: str, said: str) -> None:
    rows = {
        "label": good_lines(),
        "value": [json.dumps({"text": f"text {number}", "value": number}) for number in range(12)],
        "pair": [json.dumps({"image": f"{number}.png", "text": "a"}) for number in range(12)],
    }[target]
    rows[7] = line
    error = refusal(tmp_path, rows, target)
    assert (error.code, error.param, error.line, error.exit_code) == ("invalid_data", "training_file", 8, 65)
    assert f"line 8: {said}" in str(error) or said in str(error)


def test_the_first_twenty_faults_are_told_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, [*good_lines(), *["broken"] * 30])
    assert str(error).count("line ") == MAX_ERRORS
    assert error.line == 13
    assert "others may follow" in str(error)


def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"text": "a", "label": "x"}\n{"text": "\xff", "label": "x"}\n')
    with pytest.raises(TrainingError, match="line 2: not UTF-8: byte 11"):
        load(tmp_path, tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n', encoding="utf-16")
    with pytest.raises(TrainingError, match="UTF-16; save it as UTF-8"):
        load(tmp_path, tmp_path / "t.jsonl")


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*good_lines(), "", ""]).encode())
    datasets, warnings = load(tmp_path, tmp_path / "t.jsonl")
    plain, _ = load(tmp_path, write_rows(tmp_path / "plain.jsonl", GOOD))
    assert datasets.sha256() == plain.sha256()
    assert [row.line for row in datasets.training.rows] == list(range(1, 13))
    assert warnings == ["training_file: 1 blank lines were skipped"]


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        (GOOD[:9], "too_few_rows", "9 rows, expected at least 10"),
        ([{"text": f"t{n}", "label": "same"} for n in range(12)], "invalid_data", "1 different labels"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused(tmp_path: Path, rows: list[Any], code: str, said: str) -> None:
    error = refusal(tmp_path, [json.dumps(row) for row in rows])
    assert error.code == code
    assert said in str(error)


def test_equal_values_are_refused(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"t{number}", "value": 4}) for number in range(12)]
    assert "every 'value' is the same" in str(refusal(tmp_path, rows, "value"))


def test_a_validation_label_that_training_lacks_is_an_error_and_the_reverse_a_warning(tmp_path: Path) -> None:
    training = write_rows(tmp_path / "t.jsonl", GOOD)
    other = write_rows(tmp_path / "v.jsonl", [{"text": "x", "label": "a"}, {"text": "y", "label": "c"}])
    with pytest.raises(TrainingError, match="label 'c' is not in the training file") as caught:
        load(tmp_path, training, validation=other)
    assert (caught.value.param, caught.value.line) == ("validation_file", 2)
    fewer = write_rows(tmp_path / "v.jsonl", [{"text": "x", "label": "a"}])
    _, warnings = load(tmp_path, training, validation=fewer)
    assert warnings == ["validation_file: no example of 'b'"]


def test_repeats_and_single_examples_and_unused_columns_are_warned_of(tmp_path: Path) -> None:
    rows = [*GOOD, GOOD[2], {"text": "alone", "label": "c", "id": 7}]
    validation = write_rows(tmp_path / "v.jsonl", [GOOD[0], GOOD[1], {"text": "new", "label": "c"}])
    _, warnings = load(tmp_path, write_rows(tmp_path / "t.jsonl", rows), validation=validation)
    assert warnings == [
        "training_file: columns that are not used: 'id'",
        "training_file: labels with one example only: 'c' (line 14)",
        "training_file: 1 rows repeat an earlier one: lines 13 (as 3)",
        "validation_file: 2 rows are in the training file too: lines 1, 2",
    ]


def test_inline_pictures_are_read_whatever_their_length(tmp_path: Path) -> None:
    random = IntegerRandom(0)
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(noise, "PNG")
    pictures = [picture("red", "ring", random, 8), picture("red", "ring", random), noise.getvalue()] * 4
    assert [len(data_uri(png)) > MAX_NAME_CHARACTERS for png in pictures[:3]] == [False, False, True]
    rows = [{"image": data_uri(png), "label": "ab"[n % 2]} for n, png in enumerate(pictures)]
    rows[5]["image"] = rows[5]["image"].partition(",")[2]  # base64 without the data URI's head
    datasets, _ = load(tmp_path, write_rows(tmp_path / "t.jsonl", rows))
    pixels = datasets.training.pixel_values([0, 2, 5])
    assert pixels is not None
    assert pixels.shape == (3, 3, 16, 16)
    assert datasets.training.picture_hashes[2] == datasets.training.picture_hashes[5]


def test_pictures_that_cannot_be_read_are_named_with_their_lines(tmp_path: Path) -> None:
    png = picture("red", "ring", IntegerRandom(0))
    rows = [{"image": data_uri(png), "text": f"t{number}"} for number in range(12)]
    rows[3]["image"] = data_uri(png[:60])
    rows[4]["image"] = data_uri(b"GIF89a, or so it says")
    rows[5]["image"] = "data:image/png;base64,%%%"
    rows[6]["image"] = "cat.png"
    error = refusal(tmp_path, [json.dumps(row) for row in rows], "pair")
    assert error.line == 4
    for said in (
        "line 4: the picture",
        "line 5: the picture",
        "line 6: 'image' is no valid base64",
        "line 7: 'cat.png'",
    ):
        assert said in str(error)


def test_pretraining_takes_texts_beside_pairs(tmp_path: Path) -> None:
    png = data_uri(picture("red", "ring", IntegerRandom(0)))
    rows = [{"image": png, "texts": ["a", "b"]}, {"text": "alone"}] * 6
    datasets, _ = load(tmp_path, write_rows(tmp_path / "t.jsonl", rows), "pair", texts=True)
    assert (len(datasets.training), len(datasets.texts), datasets.training.inputs) == (6, 6, "pair")
