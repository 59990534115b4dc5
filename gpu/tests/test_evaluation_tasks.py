"""Tasks on real labels: their splits are what they say, no item is torn apart, blind answers are worth nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flava_gpu.evaluation.digits import digits_task
from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.emoji_tasks import emoji_task
from flava_gpu.evaluation.errors import DataMissingError, EvaluationDataError, EvaluationError
from flava_gpu.evaluation.floors import bag_of_words
from flava_gpu.evaluation.labelled_tasks import emotion_task, mail_task, mnist_task, word_pair_task, word_task
from flava_gpu.evaluation.metrics import accuracy
from flava_gpu.evaluation.sources import TASKS, Sources
from flava_gpu.evaluation.tag_tasks import ENTAILMENT, QUESTIONS, TagGraph, entailment_task, question_task
from flava_gpu.evaluation.tasks import Splits, Task
from flava_gpu.evaluation.zero_shot_tasks import zero_shot_emoji
from flava_gpu.pairs import Role

STYLES: dict[str, Role] = {"noto": "train-style", "fxemoji": "dev-style", "openmoji": "test-style"}
WORDS = ("animal", "bird", "fruit", "vehicle", "weather", "music", "sport", "house")


def tagged() -> list[Picture]:
    """240 concepts in three styles: each is tagged with one of eight words, a third of them with the next one too."""
    pictures = []
    for index in range(240):
        word = WORDS[index % 8]
        tags = (f"name {index}", word, *((WORDS[(index + 1) % 8],) if index // 8 % 3 == 0 else ()))
        for style, role in STYLES.items():
            path = Path(style, f"{index}.png")
            pictures.append(
                Picture(path, f"{index:03}", style, role, "train", tags[0], word, f"{word}-{index % 2}", tags)
            )
    return pictures


def only_splits(task: Task) -> Splits:
    (splits,) = task.checked_splits()
    return splits


def test_the_three_classes_are_what_tags_say() -> None:
    def one(key: str, subgroup: str, *tags: str) -> Picture:
        return Picture(Path(key), key, "openmoji", "test-style", "train", key, "group", subgroup, tags)

    shown = [one("wine", "drink", "wine", "party"), one("grapes", "fruit", "fruit", "wine")]
    shown += [one(f"bottle {i}", "drink", "wine") for i in range(3)]
    shown += [one(f"fruit {i}", "fruit", "fruit") for i in range(3)]
    shown += [one("car", "vehicle", "road")]
    classes = TagGraph(shown).classes(["fruit", "party"])
    assert classes["grapes", "fruit"] == "entailed"
    assert classes["wine", "fruit"] == "neutral"  # one of the four others with "wine" carries it
    assert classes["car", "fruit"] == "contradicted"
    assert ("bottle 0", "party") in classes  # by "wine", a quarter
    assert ("grapes", "party") in classes
    assert ("fruit 0", "party") not in classes or classes["fruit 0", "party"] != "entailed"


@pytest.mark.parametrize("make", [entailment_task, question_task])
def test_every_word_has_equally_many_pairs_of_each_class_in_each_split(make: object) -> None:
    task = make(tagged())  # type: ignore[operator]
    splits = only_splits(task)
    pairs: list[set[tuple[str, str]]] = []
    for part in (splits.train, splits.validation, splits.test):
        assert part.texts is not None
        for text in set(part.texts):
            own = part.targets[[index for index, other in enumerate(part.texts) if other == text]]
            assert len(set(np.bincount(own, minlength=len(task.labels)).tolist())) == 1
        pairs.append({(str(concept), text) for concept, text in zip(part.groups or [], part.texts, strict=True)})
    assert not pairs[0] & pairs[1]
    assert not pairs[0] & pairs[2]
    assert not pairs[1] & pairs[2]
    assert {path.parts[0] for path in splits.train.images or []} == {"noto"}
    assert {path.parts[0] for path in splits.test.images or []} == {"openmoji"}


def test_the_sentence_alone_tells_nothing() -> None:
    splits = only_splits(entailment_task(tagged()))
    assert accuracy(splits.test.targets, bag_of_words(splits)) == pytest.approx(1 / len(ENTAILMENT), abs=0.1)


def test_questions_are_english() -> None:
    assert QUESTIONS["animal"] == "is there an animal?"
    assert len(QUESTIONS) == 40
    assert all(question.startswith("is there ") and question.endswith("?") for question in QUESTIONS.values())


def test_emoji_classes_are_tested_in_the_held_out_style_and_chosen_in_the_tuning_style() -> None:
    task = emoji_task("group", tagged())
    splits = only_splits(task)
    assert task.labels == tuple(sorted(WORDS))
    assert {path.parts[0] for path in splits.validation.images or []} == {"fxemoji"}
    assert {path.parts[0] for path in splits.test.images or []} == {"openmoji"}
    assert zero_shot_emoji("subgroup", tagged()).names[0] == ("animal 0",)


def test_digits_are_all_there_once_and_written_once(tmp_path: Path) -> None:
    splits = only_splits(digits_task(tmp_path))
    images = [path for part in (splits.train, splits.validation, splits.test) for path in part.images or []]
    assert len(set(images)) == len(images) == 1797
    assert Image.open(images[0]).size == (8, 8)
    before = images[0].stat().st_mtime_ns
    digits_task(tmp_path).load()
    assert images[0].stat().st_mtime_ns == before


def write_rows(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def labelled(label: object, split: str, number: int, **columns: object) -> dict[str, object]:
    return {"id": f"{split}-{number}-{label}", "label": label, "group": f"g{number}", "split": split, **columns}


def test_labelled_sets_keep_their_own_splits(tmp_path: Path) -> None:
    rows = [
        labelled(label, split, number, text=f"{label} {number}")
        for split in ("train", "valid", "test")
        for number in range(6)
        for label in ("negative", "positive")
    ]
    splits = only_splits(word_task(write_rows(tmp_path, "words", rows)))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 12, 12]
    assert all(text.startswith(("positive", "negative")) for text in splits.test.texts or [])
    assert splits.test.groups is not None
    with pytest.raises(EvaluationDataError, match="unknown label 'odd'"):
        word_task(write_rows(tmp_path, "words", [labelled("odd", "train", 0, text="x")])).load()


def test_bad_rows_are_told_by_line(tmp_path: Path) -> None:
    good = labelled("positive", "train", 0, text="x")
    rows = [good, {**good, "split": "later"}, {**good, "id": "b", "text": " "}, good]
    with pytest.raises(EvaluationDataError) as told:
        word_task(write_rows(tmp_path, "words", rows))
    assert "words.jsonl: line 2: 'split': expected one of train, valid, test, found 'later'" in str(told.value)
    assert "line 3: 'text': expected a text; line 4: 'id' 'train-0-positive' stands in line 1 too" in str(told.value)


def test_mail_with_odd_line_ends_is_read_whole_and_cut(tmp_path: Path) -> None:
    rows = [
        labelled(label, split, 0, text="subject\n\nbody\u2028still body " + "x" * 5000)
        for split in ("train", "valid", "test")
        for label in ("ham", "spam")
    ]
    text = (only_splits(mail_task(write_rows(tmp_path, "mail", rows))).train.texts or [""])[0]
    assert "\u2028still" in text
    assert len(text) == 2000


def test_pictures_and_word_pairs_are_put_together_from_their_columns(tmp_path: Path) -> None:
    digits = [
        labelled(str(n % 10), s, n, image=f"mnist/{n}.png") for s in ("train", "valid", "test") for n in range(10)
    ]
    splits = only_splits(mnist_task(write_rows(tmp_path, "mnist", digits)))
    assert (splits.train.images or [])[0].parent == tmp_path / "images" / "mnist"
    pairs = [
        labelled(label, split, 0, first="hot", second="cold")
        for split in ("train", "valid", "test")
        for label in ("antonym", "hypernym", "unrelated")
    ]
    assert only_splits(word_pair_task(write_rows(tmp_path, "word-pairs", pairs))).test.texts == ["hot: cold"] * 3


def test_no_emoji_is_in_two_parts_of_a_fold_and_all_are_tested_once(tmp_path: Path) -> None:
    keys = [f"{index:03}" for index in range(60)]
    rows = [
        labelled(("negative", "neutral", "positive")[index % 3], "train", index, key=key, text=f"name {index}")
        for index, key in enumerate(keys)
    ]
    folds = emotion_task(write_rows(tmp_path, "emoji-emotion", rows), tagged()).checked_splits()
    tested = [concept for fold in folds for concept in fold.test.groups or []]
    assert sorted(map(str, tested)) == keys
    for fold in folds:
        parts = [set(part.groups or []) for part in (fold.train, fold.validation, fold.test)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_missing_data_names_its_command_and_unknown_tasks_the_known_ones(tmp_path: Path) -> None:
    sources = Sources(labelled=tmp_path, work=tmp_path)
    with pytest.raises(DataMissingError, match="npm run data -- labelled"):
        sources.task("spam")
    with pytest.raises(EvaluationError, match="known are"):
        sources.task("spma")
    assert sources.task("digits 8x8").name in TASKS
