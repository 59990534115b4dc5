"""Retrieval: what each split asks and offers, several right answers, and how scores follow from vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flava_gpu.evaluation.emoji import Picture, of, read_pictures
from flava_gpu.evaluation.emoji_retrieval import keyword_task, name_task
from flava_gpu.evaluation.encoders import unit
from flava_gpu.evaluation.errors import DataMissingError, EvaluationDataError
from flava_gpu.evaluation.keywords import key_of
from flava_gpu.evaluation.pixels import pixel_feature, pixel_features, trim
from flava_gpu.evaluation.retrieval import Gallery, rank_gallery, rank_task
from flava_gpu.evaluation.retrieval_suite import (
    Row,
    format_costs,
    format_table,
    is_within_gate,
    quantization_costs,
    rank_pixels,
    score_chance,
)
from flava_gpu.pairs import Role, Split

STYLES: dict[str, Role] = {
    "noto": "train-style",
    "twemoji": "train-style",
    "fxemoji": "dev-style",
    "openmoji": "test-style",
}
CONCEPTS: dict[str, Split] = {"cat": "train", "dog": "train", "cow": "dev", "hat": "test", "bus": "test"}


def picture(style: str, name: str, tags: tuple[str, ...] = ()) -> Picture:
    path = Path(style, f"{name}.png")
    key = f"key of {name}"
    return Picture(path, key, style, STYLES[style], CONCEPTS[name], name, "things", "some", tags or (name,))


def all_pictures() -> list[Picture]:
    return [picture(style, name) for style in STYLES for name in CONCEPTS]


def axes(items: list[str]) -> np.ndarray:
    """One axis a concept, so that a picture and its name meet and nothing else does."""
    return np.array([[float(concept in str(item)) for concept in CONCEPTS] for item in items], dtype=np.float32)


def axis_vectors(gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
    return axes([path.stem for path in gallery.images]), axes(list(gallery.texts))


@pytest.mark.parametrize(
    ("split", "names", "galleries", "pictures", "asking"),
    [("A", 2, 1, 2, 2), ("B", 2, 2, 4, 4), ("B1652", 5, 2, 10, 4), ("C", 2, 1, 2, 2), ("dev", 2, 1, 2, 2)],
)
def test_each_split_asks_and_offers_what_it_says(
    split: str, names: int, galleries: int, pictures: int, asking: int
) -> None:
    task = name_task(split, all_pictures())
    assert {len(gallery.texts) for gallery in task.galleries} == {names}
    assert len(task.galleries) == galleries
    assert sum(len(gallery.images) for gallery in task.galleries) == pictures
    assert sum(len(gallery.asking_images) for gallery in task.galleries) == asking


def test_two_concepts_of_one_name_and_a_split_without_pictures_are_refused() -> None:
    with pytest.raises(EvaluationDataError, match="names both"):
        name_task("A", [picture("openmoji", "cat"), Picture(**{**picture("openmoji", "dog").__dict__, "name": "Cat"})])
    with pytest.raises(EvaluationDataError, match="no pictures"):
        name_task("A", [])


def test_missing_data_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="npm run data"):
        read_pictures(tmp_path)


def test_a_perfect_model_finds_everything_within_the_style_that_asks() -> None:
    for direction in ("i2t", "t2i"):
        ranked = rank_task(name_task("B1652", all_pictures()), axis_vectors, direction)
        assert ranked.ranks.tolist() == [0, 0, 0, 0]
        assert ranked.candidates.tolist() == [5, 5, 5, 5]


def test_a_picture_that_looks_like_another_concept_lowers_both_directions() -> None:
    def confuse(gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
        names = ["bus" if str(path) == "noto/hat.png" else path.stem for path in gallery.images]
        return axes(names), axes(list(gallery.texts))

    task = name_task("B1652", all_pictures())
    assert rank_task(task, confuse, "i2t").recall(1).value == 0.75
    # In noto both the hat's and the bus's picture answer "bus", and none answers "hat".
    assert rank_task(task, confuse, "t2i").recall(1).value == 0.5


def five_captions() -> Gallery:
    """Three pictures of five captions each, as Flickr30K has them."""
    captions = [list(range(5 * image, 5 * image + 5)) for image in range(3)]
    texts = [f"caption {index}" for index in range(15)]
    everything = np.arange(15)
    return Gallery([Path(str(i)) for i in range(3)], texts, captions, np.arange(3), everything, [0, 1, 2])


def test_a_picture_hits_when_any_of_its_captions_is_in_the_top_k() -> None:
    gallery = five_captions()
    image = np.eye(3, dtype=np.float32)
    text = np.zeros((15, 3), np.float32)
    text[4, 0] = 1.0  # one of the first picture's five
    text[10, 0] = 0.5
    text[[5, 6], 2] = [0.9, 0.8]  # two of the second picture's, taken for the third
    text[11, 2] = 0.7
    ranked = rank_gallery(gallery, image, text, "i2t")
    assert ranked.ranks.tolist()[0] == 0
    assert ranked.ranks.tolist()[2] == 2
    assert ranked.right.tolist() == [5, 5, 5]
    texts = rank_gallery(gallery, image, text, "t2i")
    assert texts.ranks[4] == 0
    assert texts.ranks[5] == 2
    assert texts.right.tolist() == [1] * 15


def test_a_planted_signal_is_found_and_shuffled_captions_stand_at_chance() -> None:
    random = np.random.default_rng(0)
    captions = unit(random.normal(size=(500, 32)).astype(np.float32))
    images = unit((captions[::5] + 0.05 * random.normal(size=(100, 32))).astype(np.float32))
    own = [list(range(5 * image, 5 * image + 5)) for image in range(100)]
    texts = [str(index) for index in range(500)]
    gallery = Gallery([Path(str(i)) for i in range(100)], texts, own, np.arange(100), np.arange(500), list(range(100)))
    assert rank_gallery(gallery, images, captions, "i2t").recall(1).value == 1.0
    shuffled = rank_gallery(gallery, images[random.permutation(100)], captions[random.permutation(500)], "i2t")
    for k in (1, 5, 10):
        estimate = shuffled.recall(k)
        assert estimate.low <= shuffled.chance_recall(k) + 0.01
        assert estimate.high >= shuffled.chance_recall(k)


def test_one_vector_for_everything_is_never_right_and_gives_the_share_of_right_answers_as_precision() -> None:
    gallery = five_captions()
    ranked = rank_gallery(gallery, np.ones((3, 2), np.float32), np.ones((15, 2), np.float32), "i2t")
    assert ranked.recall(5).value == 0
    assert ranked.mean_average_precision().value == pytest.approx(1 / 3)


def test_keywords_are_scored_over_all_pictures_that_carry_them() -> None:
    shown = [picture("openmoji", name) for name in ("cat", "dog")]
    keywords = {"key of cat": ["pet", "whiskers"], "key of dog": ["pet"]}
    task = keyword_task(shown, keywords)
    (gallery,) = task.galleries
    assert list(gallery.texts) == ["pet", "whiskers"]
    image = np.eye(2, dtype=np.float32)
    text = np.array([[1.0, 0.2], [0.1, 1.0]], np.float32)  # "whiskers" is taken for the dog
    ranked = rank_gallery(gallery, image, text, "t2i")
    assert ranked.average_precision.tolist() == [1.0, 0.5]
    assert ranked.right.tolist() == [2, 1]


def test_concept_keys_leave_out_variation_selectors() -> None:
    assert key_of("\u2764\ufe0f") == "2764"
    assert key_of("\U0001f441\ufe0f\u200d\U0001f5e8\ufe0f") == "1F441-200D-1F5E8"


def row(engine: str = "edge", split: str = "A", r1: float = 10.0) -> Row:
    return Row(split, engine, "i2t", (r1, 20.0, 30.0), None, 1402)


def test_a_json_line_has_exactly_the_keys_and_the_order_that_its_readers_were_promised() -> None:
    line = json.dumps(row(r1=9.99).to_json(), separators=(",", ":"))
    expected = (
        '{"suite":"retrieval","split":"A","engine":"edge","direction":"i2t","r1":9.99,"r5":20.0,"r10":30.0,"n":1402}'
    )
    assert line == expected


def test_the_gate_allows_a_loss_of_half_a_point_on_split_a_and_refuses_0_51() -> None:
    within = quantization_costs([row(), row("torch", r1=10.5)])
    above = quantization_costs([row(), row("torch", r1=10.51)])
    small = quantization_costs([row(split="C"), row("torch", "C", 15.0), row("torch", "B", 9.0)])
    assert [cost.points for cost in within] == [0.5]
    assert is_within_gate(within, 0.5)
    assert not is_within_gate(above, 0.5)
    assert "ABOVE" in format_costs(above, 0.5)
    assert [cost.split for cost in small] == ["C"]
    assert is_within_gate(small, 0.5)


def test_the_table_shows_chance_beside_the_engines() -> None:
    task = name_task("A", all_pictures())
    table = format_table([task], score_chance([task]))
    assert "A: held-out style, seen concepts (2 names, openmoji)" in table
    assert "chance" in table
    assert "50.00" in table


def draw(shape: str, colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """White with a filled box or a cross in `box`."""
    pixels = np.full((72, 72, 3), 255, np.uint8)
    left, top, right, bottom = box
    y, x = np.mgrid[0:72, 0:72]
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    if shape == "cross":
        sixth = (right - left) / 6
        inside &= (abs(x - (left + right - 1) / 2) < sixth) | (abs(y - (top + bottom - 1) / 2) < sixth)
    pixels[inside] = colour
    return Image.fromarray(pixels)


def test_pixels_find_the_nearest_training_picture_and_trimming_finds_one_drawn_small(tmp_path: Path) -> None:
    def saved(name: str, style: str, concept: str, image: Image.Image) -> Picture:
        image.save(tmp_path / f"{name}.png")
        return Picture(**{**picture(style, concept).__dict__, "path": tmp_path / f"{name}.png"})

    large, small = (6, 6, 66, 66), (40, 40, 64, 64)
    training = [
        saved("a", "noto", "cat", draw("box", (200, 30, 30), large)),
        saved("b", "noto", "dog", draw("cross", (200, 30, 30), large)),
    ]
    shown = [
        saved("c", "openmoji", "cat", draw("box", (160, 60, 40), (8, 6, 68, 66))),
        saved("d", "openmoji", "dog", draw("cross", (160, 60, 40), small)),
    ]
    task = name_task("A", [*training, *shown])
    trimmed, _ = rank_pixels(task, of([*training, *shown], "train-style", "train"), "trimmed")
    assert trimmed.ranks.tolist() == [0, 0]
    unseen, _ = rank_pixels(task, training[:1], "canvas")
    assert unseen.ranks.tolist() == [0, 1]  # a concept without training pictures comes last


def test_a_pixel_feature_has_length_1_and_no_mean_and_one_colour_gives_zeros(tmp_path: Path) -> None:
    draw("box", (160, 60, 40), (8, 6, 68, 66)).save(tmp_path / "a.png")
    (feature,) = pixel_features([tmp_path / "a.png"])
    assert feature.shape == (24 * 24 * 3,)
    assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-6)
    assert abs(feature.sum()) < 1e-3
    assert not pixel_feature(Image.new("RGB", (9, 9), (9, 9, 9)), "canvas").any()


def test_trim_keeps_exactly_what_is_not_white_and_a_white_picture_whole() -> None:
    assert trim(draw("box", (160, 60, 40), (40, 40, 64, 64))).size == (24, 24)
    assert trim(Image.new("RGB", (9, 7), "white")).size == (9, 7)
