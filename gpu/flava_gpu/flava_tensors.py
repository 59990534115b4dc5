"""Names and shapes of every tensor of a FLAVA checkpoint, as functions of its config.

At facebook/flava-full's geometry they are `tests/fixtures/flava-full-tensors.txt`, line by line. Reads no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flava_gpu.checkpoint_errors import CheckpointConfigError, CheckpointTensorError
from flava_gpu.checkpoint_reader import PREFIX, CheckpointReader

Json = dict[str, Any]
Shape = tuple[int, ...]
Shapes = dict[str, Shape]

CODEBOOK = "image_codebook."
HEADS = ("mim_head", "mlm_head", "itm_head", "mmm_image_head", "mmm_text_head")
BUFFERS = ("text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids")
"""Buffers that older versions of transformers stored; they hold 0, 1, 2, ... and zeros."""


def model_shapes(config: Json) -> Shapes:
    """FlavaModel's tensors in the order of its state dict; 512 of them at the full geometry."""
    try:
        return dict(_model(config))
    except (KeyError, TypeError) as error:
        raise CheckpointConfigError(f"config.json: not a whole FLAVA config: {error!r}") from error


def pretraining_shapes(config: Json) -> Shapes:
    """FlavaForPreTraining's tensors in the order of its state dict; 618 of them at the full geometry."""
    shapes = {f"{PREFIX}{name}": shape for name, shape in model_shapes(config).items()}
    return shapes | dict(_codebook(config["image_codebook_config"])) | dict(_heads(config))


def _model(config: Json) -> Iterator[tuple[str, Shape]]:
    text, image, multimodal = (config[f"{part}_config"] for part in ("text", "image", "multimodal"))
    yield "logit_scale", ()
    yield from _text_embeddings("text_model.embeddings", text)
    yield from _encoder("text_model", text)
    yield from _image_embeddings("image_model.embeddings", image)
    yield from _encoder("image_model", image)
    if multimodal["use_cls_token"]:
        yield "multimodal_model.cls_token", (1, 1, multimodal["hidden_size"])
    yield from _encoder("multimodal_model", multimodal)
    yield from _linear("image_projection", config["projection_dim"], image["hidden_size"])
    yield from _linear("text_projection", config["projection_dim"], text["hidden_size"])
    yield from _linear("image_to_mm_projection", multimodal["hidden_size"], image["hidden_size"])
    yield from _linear("text_to_mm_projection", multimodal["hidden_size"], text["hidden_size"])


def _text_embeddings(name: str, text: Json) -> Iterator[tuple[str, Shape]]:
    hidden = text["hidden_size"]
    yield f"{name}.word_embeddings.weight", (text["vocab_size"], hidden)
    yield f"{name}.position_embeddings.weight", (text["max_position_embeddings"], hidden)
    yield f"{name}.token_type_embeddings.weight", (text["type_vocab_size"], hidden)
    yield from _norm(f"{name}.LayerNorm", hidden)


def _image_embeddings(name: str, image: Json) -> Iterator[tuple[str, Shape]]:
    hidden, patch = image["hidden_size"], image["patch_size"]
    yield f"{name}.cls_token", (1, 1, hidden)
    if image["mask_token"]:
        yield f"{name}.mask_token", (1, 1, hidden)
    yield f"{name}.position_embeddings", (1, (image["image_size"] // patch) ** 2 + 1, hidden)
    yield f"{name}.patch_embeddings.projection.weight", (hidden, image["num_channels"], patch, patch)
    yield f"{name}.patch_embeddings.projection.bias", (hidden,)


def _encoder(model: str, sizes: Json) -> Iterator[tuple[str, Shape]]:
    hidden, intermediate = sizes["hidden_size"], sizes["intermediate_size"]
    for layer in range(sizes["num_hidden_layers"]):
        block = f"{model}.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            yield from _linear(f"{block}.attention.attention.{part}", hidden, hidden, sizes["qkv_bias"])
        yield from _linear(f"{block}.attention.output.dense", hidden, hidden)
        yield from _linear(f"{block}.intermediate.dense", intermediate, hidden)
        yield from _linear(f"{block}.output.dense", hidden, intermediate)
        yield from _norm(f"{block}.layernorm_before", hidden)
        yield from _norm(f"{block}.layernorm_after", hidden)
    yield from _norm(f"{model}.layernorm", hidden)
    yield from _linear(f"{model}.pooler.dense", hidden, hidden)


def _codebook(codebook: Json) -> Iterator[tuple[str, Shape]]:
    """DALL-E's encoder: four groups of residual blocks, each group twice as wide as the one before."""
    hidden, blocks = codebook["hidden_size"], f"{CODEBOOK}blocks"
    yield from _conv(f"{blocks}.input", hidden, codebook["input_channels"], 7)
    width = hidden
    for group, factor in enumerate((1, 2, 4, 8), start=1):
        wider = factor * hidden
        for block in range(1, codebook["num_blocks_per_group"] + 1):
            name = f"{blocks}.group_{group}.group.block_{block}"
            if width != wider:
                yield from _conv(f"{name}.id_path", wider, width, 1)
            path, narrow = f"{name}.res_path.path", wider // 4
            yield from _conv(f"{path}.conv_1", narrow, width, 3)
            yield from _conv(f"{path}.conv_2", narrow, narrow, 3)
            yield from _conv(f"{path}.conv_3", narrow, narrow, 3)
            yield from _conv(f"{path}.conv_4", wider, narrow, 1)
            width = wider
    yield from _conv(f"{blocks}.output.conv", codebook["vocab_size"], width, 1)


def _heads(config: Json) -> Iterator[tuple[str, Shape]]:
    text, image = config["text_config"], config["image_config"]
    yield from _prediction_head("mim_head", image)
    yield from _prediction_head("mlm_head", text)
    yield from _linear("itm_head.pooler.dense", config["hidden_size"], config["hidden_size"])
    yield from _linear("itm_head.seq_relationship", 2, config["hidden_size"])
    yield from _prediction_head("mmm_image_head", image)
    yield from _prediction_head("mmm_text_head", text)


def _prediction_head(name: str, sizes: Json) -> Iterator[tuple[str, Shape]]:
    hidden = sizes["hidden_size"]
    yield f"{name}.bias", (sizes["vocab_size"],)
    yield from _linear(f"{name}.transform.dense", hidden, hidden)
    yield from _norm(f"{name}.transform.LayerNorm", hidden)
    yield from _linear(f"{name}.decoder", sizes["vocab_size"], hidden)


def _linear(name: str, out: int, inputs: int, has_bias: bool = True) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, inputs)
    if has_bias:
        yield f"{name}.bias", (out,)


def _conv(name: str, out: int, inputs: int, side: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, inputs, side, side)
    yield f"{name}.bias", (out,)


def _norm(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


@dataclass(frozen=True)
class TensorCheck:
    """What a checkpoint's tensors are against what its config asks for, under the names that the files use."""

    checked: int
    missing: dict[str, Shape] = field(default_factory=dict[str, Shape])
    unexpected: dict[str, Shape] = field(default_factory=dict[str, Shape])
    misshapen: dict[str, tuple[Shape, Shape]] = field(default_factory=dict[str, tuple[Shape, Shape]])
    """Expected shape and the one found."""
    ignored: list[str] = field(default_factory=list[str])

    @property
    def is_ok(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def lines(self) -> list[str]:
        """Every finding, one a line."""
        return [
            *(f"missing     {name} {list(shape)}" for name, shape in self.missing.items()),
            *(f"unexpected  {name} {list(shape)}" for name, shape in self.unexpected.items()),
            *(
                f"misshapen   {name}: expected {list(want)}, got {list(got)}"
                for name, (want, got) in self.misshapen.items()
            ),
            *(f"ignored     {name}" for name in self.ignored),
        ]


def check_tensors(reader: CheckpointReader) -> TensorCheck:
    """Compare a checkpoint with its own config's list of tensors.

    A FlavaForPreTraining file may lack the codebook and either name of a head's tied bias; the encoders use neither.
    """
    found = {name: info.shape for name, info in reader.stored_infos().items()}
    expected = pretraining_shapes(reader.config) if reader.is_pretraining else model_shapes(reader.config)
    prefix = PREFIX if reader.is_pretraining else ""
    buffers = {f"{prefix}{name}" for name in BUFFERS}
    ignored = [
        name for name in found if name in buffers or (name.startswith(CODEBOOK) and not _fits(name, found, expected))
    ]
    missing = {
        name: shape
        for name, shape in expected.items()
        if name not in found and not name.startswith(CODEBOOK) and _tied_name(name) not in found
    }
    return TensorCheck(
        checked=len(expected.keys() & found.keys()),
        missing=missing,
        unexpected={name: shape for name, shape in found.items() if name not in expected and name not in ignored},
        misshapen={
            name: (expected[name], shape)
            for name, shape in found.items()
            if name in expected and name not in ignored and expected[name] != shape
        },
        ignored=ignored,
    )


def require_tensors(reader: CheckpointReader) -> TensorCheck:
    """check_tensors, and a CheckpointTensorError that lists every finding unless all is well."""
    check = check_tensors(reader)
    if not check.is_ok:
        raise CheckpointTensorError(
            f"{reader.directory}: {len(check.missing)} tensors missing, {len(check.unexpected)} unexpected, "
            f"{len(check.misshapen)} misshapen:\n" + "\n".join(check.lines())
        )
    return check


def _fits(name: str, found: Shapes, expected: Shapes) -> bool:
    return expected.get(name) == found[name]


def _tied_name(name: str) -> str:
    """The other name of a head's bias: `<head>.bias` and `<head>.decoder.bias` are one parameter."""
    head, _, rest = name.partition(".")
    if head not in HEADS:
        return name
    return {"bias": f"{head}.decoder.bias", "decoder.bias": f"{head}.bias"}.get(rest, name)
