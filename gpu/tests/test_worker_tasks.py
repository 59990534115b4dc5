"""The multimodal tasks on the embedded checkpoint, against transformers' FlavaForPreTraining.forward on the same inputs."""

from __future__ import annotations

import base64
import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from flava_gpu.preprocess import to_pixel_values
from flava_gpu.trained_heads import HEADS, trained_heads
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.tasks.embeddings import run_embeddings
from flava_gpu.worker.tasks.fill_mask import run_fill_mask
from flava_gpu.worker.tasks.match import run_match
from flava_gpu.worker.tasks.pictures import decode_picture
from flava_gpu.worker.tasks.runtime import FlavaRuntime, load_runtime

CHECKPOINT = Path(__file__).parents[2] / "models" / "flava-emoji" / "checkpoint"
TOLERANCE = 1e-5
"""Sums of a few hundred products in another order; vectors are of length 1, scores between 0 and 1."""
TEXTS = ["a red heart", "dog", "a small house with a garden in the snow", "smiling face with sunglasses"]


@pytest.fixture(scope="module")
def runtime() -> FlavaRuntime:
    return load_runtime(CHECKPOINT, trained_heads(CHECKPOINT), "cpu")


@pytest.fixture
def untrained(runtime: FlavaRuntime) -> FlavaRuntime:
    """The same weights with every head taken for trained: what is tested is the computation, not the model."""
    return load_runtime(CHECKPOINT, HEADS, "cpu")


def picture(seed: int, size: tuple[int, int] = (70, 50)) -> Image.Image:
    blobs = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BILINEAR)


def encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def result(answer: JobResult | JobError) -> Any:
    assert isinstance(answer, JobResult), answer
    return answer.result


def error(answer: JobResult | JobError) -> JobError:
    assert isinstance(answer, JobError), answer
    return answer


@torch.no_grad()
def forward(
    runtime: FlavaRuntime, text: str | None, image: Image.Image | None, patches: list[int] | None = None
) -> Any:
    """transformers' own pass over one unpadded pair, as it stands in the library."""
    inputs: dict[str, Tensor] = {}
    if text is not None:
        ids = torch.tensor([runtime.texts.read(text).input_ids])
        inputs |= {"input_ids": ids, "input_ids_masked": ids, "attention_mask": torch.ones_like(ids)}
    if image is not None:
        inputs["pixel_values"] = to_pixel_values([image], runtime.image_size)
        mask = torch.zeros(1, runtime.grid**2, dtype=torch.bool)
        mask[0, patches or []] = True
        inputs["bool_masked_pos"] = mask
    return runtime.model(**inputs, return_loss=False, skip_unmasked_multimodal_encoder=True)


def match_input(images: list[Image.Image], texts: list[str], pairs: list[tuple[int, int]]) -> dict[str, Any]:
    return {"images": [encoded(image) for image in images], "texts": texts, "pairs": pairs}


def test_match_scores_of_a_matrix_equal_transformers_pair_by_pair_to_1e_5(runtime: FlavaRuntime) -> None:
    images = [picture(seed) for seed in range(3)]
    pairs = [(image, text) for image in range(3) for text in range(len(TEXTS))]
    scores = result(run_match(runtime, [match_input(images, TEXTS, pairs)])[0])["scores"]
    expected = [
        torch.softmax(forward(runtime, TEXTS[text], images[image]).itm_logits.double(), dim=1)[0, 1].item()
        for image, text in pairs
    ]
    assert scores == pytest.approx(expected, abs=TOLERANCE)
    assert max(scores) - min(scores) > 0.01


def test_a_score_does_not_depend_on_what_else_is_in_the_batch_or_on_the_chunk_size(runtime: FlavaRuntime) -> None:
    alone = result(run_match(runtime, [match_input([picture(0)], ["dog"], [(0, 0)])])[0])["scores"][0]
    crowd = match_input([picture(5), picture(0)], [TEXTS[2], "dog", TEXTS[3]], [(0, 0), (1, 1), (1, 0), (0, 2)])
    usual = runtime.chunk
    for chunk in (1, 3, usual):
        runtime.chunk = chunk
        other = match_input([picture(7)], [TEXTS[2]], [(0, 0)])
        first, second = run_match(runtime, [other, crowd])
        assert result(second)["scores"][1] == pytest.approx(alone, abs=TOLERANCE)
        assert len(result(first)["scores"]) == 1
    runtime.chunk = usual


def test_fused_vectors_equal_transformers_multimodal_states_to_1e_5(runtime: FlavaRuntime) -> None:
    images = [picture(seed) for seed in range(len(TEXTS))]
    items = [{"text": text, "image": encoded(image)} for text, image in zip(TEXTS, images, strict=True)]
    hidden = result(run_embeddings(runtime, [{"items": items, "output": "hidden", "normalize": False}])[0])["items"]
    cls = result(run_embeddings(runtime, [{"items": items, "output": "cls", "normalize": True}])[0])["items"]
    for text, image, tokens, vector in zip(TEXTS, images, hidden, cls, strict=True):
        expected = forward(runtime, text, image).multimodal_masked_embeddings[0]
        torch.testing.assert_close(torch.tensor(tokens["embedding"]), expected, atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(
            torch.tensor(vector["embedding"]), F.normalize(expected[0], dim=0), atol=TOLERANCE, rtol=TOLERANCE
        )
        assert len(tokens["embedding"]) == 1 + tokens["image_tokens"] + tokens["text_tokens"]


def test_masked_words_beside_a_picture_equal_transformers_mmm_text_logits_to_1e_5(runtime: FlavaRuntime) -> None:
    text, image = "a [MASK] heart on a [MASK]", picture(3)
    item = {"text": text, "image": encoded(image), "masked_patches": []}
    longer = {"text": "[MASK] " + TEXTS[2], "image": encoded(picture(4)), "masked_patches": []}
    filled = result(run_fill_mask(runtime, [{"items": [longer, item], "top_k": 5}])[0])["items"][1]["words"]
    ids = torch.tensor(runtime.texts.read(text).input_ids)
    logits = forward(runtime, text, image).mmm_text_logits[0]  # [seq_len, vocab_size]
    assert [word["position"] for word in filled] == (ids == runtime.texts.mask_id).nonzero().flatten().tolist()
    for word in filled:
        best = torch.softmax(logits[word["position"]].double(), dim=0).topk(5)
        assert [found["token_id"] for found in word["candidates"]] == best.indices.tolist()
        assert [found["score"] for found in word["candidates"]] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


def test_masked_words_alone_equal_transformers_mlm_logits_to_1e_5(runtime: FlavaRuntime) -> None:
    text = "a [MASK] cat"
    item = {"text": text, "image": None, "masked_patches": []}
    longer = {"text": "[MASK] " + TEXTS[2], "image": None, "masked_patches": []}
    filled = result(run_fill_mask(runtime, [{"items": [longer, item], "top_k": 3}])[0])["items"][1]["words"]
    best = torch.softmax(forward(runtime, text, None).mlm_logits[0, 2].double(), dim=0).topk(3)
    assert [found["token_id"] for found in filled[0]["candidates"]] == best.indices.tolist()
    assert [found["score"] for found in filled[0]["candidates"]] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("text", [TEXTS[0], None])
def test_masked_patches_equal_transformers_codebook_logits_to_1e_5(untrained: FlavaRuntime, text: str | None) -> None:
    image, patches = picture(1), [0, 9, 63]
    item = {"text": text, "image": encoded(image), "masked_patches": patches}
    other = {"text": text, "image": encoded(image), "masked_patches": [5]}
    filled = result(run_fill_mask(untrained, [{"items": [other, item], "top_k": 4}])[0])["items"][1]["patches"]
    output = forward(untrained, text, image, patches)
    # Alone, transformers gives logits for the CLS too; beside a text, for the patches only.
    logits = output.mim_logits[0, 1:] if text is None else output.mmm_image_logits[0]
    assert [patch["patch"] for patch in filled] == patches
    for patch in filled:
        best = torch.softmax(logits[patch["patch"]].double(), dim=0).topk(4)
        assert [found["codebook_id"] for found in patch["candidates"]] == best.indices.tolist()
        assert [found["score"] for found in patch["candidates"]] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


def test_half_a_surrogate_pair_is_dropped_from_a_text_as_at_the_edge(runtime: FlavaRuntime) -> None:
    read = runtime.texts.read
    assert read("a d\ud800og", "\udc00x") == read("a dog", "x")
    assert read("dog 😀") == read("dog " + json.loads('"\\ud83d\\ude00"'))


def test_heads_that_were_not_trained_are_refused_by_name() -> None:
    runtime = load_runtime(CHECKPOINT, ("contrastive", "itm", "mmm_text", "mlm"), "cpu")
    patches = {"text": "a cat", "image": encoded(picture(0)), "masked_patches": [1]}
    alone = {"text": None, "image": encoded(picture(0)), "masked_patches": [1]}
    words = {"text": "a [MASK]", "image": None, "masked_patches": []}
    answers = run_fill_mask(runtime, [{"items": [one], "top_k": 1} for one in (patches, words, alone)])
    assert error(answers[0]).code == "head_not_trained"
    assert "mmm_image" in str(answers[0])
    assert error(answers[2]).code == "head_not_trained"
    assert len(result(answers[1])["items"]) == 1


def test_one_corrupt_picture_fails_its_own_job_and_no_other(runtime: FlavaRuntime) -> None:
    truncated = base64.b64encode(base64.b64decode(encoded(picture(0)))[:80]).decode()
    bad = {"images": [truncated], "texts": ["dog"], "pairs": [(0, 0)]}
    answers = run_match(runtime, [bad, match_input([picture(0)], ["dog"], [(0, 0)]), {**bad, "images": ["aGVsbG8="]}])
    assert (error(answers[0]).code, error(answers[0]).param) == ("corrupt_image", "images[0]")
    assert 0 <= result(answers[1])["scores"][0] <= 1
    assert error(answers[2]).code == "unsupported_image"
    assert not error(answers[2]).retryable


def test_running_out_of_memory_halves_the_chunk_and_goes_on(runtime: FlavaRuntime) -> None:
    usual = runtime.chunk
    tried: list[int] = []

    def work(start: int, stop: int) -> list[int]:
        tried.append(stop - start)
        if stop - start > 6:
            raise torch.OutOfMemoryError
        return list(range(start, stop))

    assert runtime.chunked(20, work, nullcontext) == list(range(20))
    assert tried == [20, 10, 5, 5, 5, 5]
    runtime.chunk = 1
    with pytest.raises(JobError, match="memory") as refused:
        runtime.chunked(1, lambda start, stop: work(0, 7), nullcontext)
    assert refused.value.retryable
    runtime.chunk = usual


def test_only_a_jpeg_is_turned_as_its_exif_orientation_says_as_at_the_edge() -> None:
    upright = picture(2, (64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    shown: dict[str, Image.Image] = {}
    for format in ("JPEG", "PNG"):
        file = io.BytesIO()
        stored.save(file, format, exif=exif, quality=95, subsampling=0)
        shown[format] = decode_picture(base64.b64encode(file.getvalue()).decode(), "image")
    assert shown["PNG"].size == stored.size
    assert shown["JPEG"].size == upright.size
    off = np.abs(np.asarray(shown["JPEG"], dtype=int) - np.asarray(upright, dtype=int))
    assert off.mean() < 3  # what JPEG itself loses
