"""The training configuration: YAML in, frozen dataclasses out; an unknown or missing key is an error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from transformers import FlavaConfig


@dataclass(frozen=True)
class ModelConfig:
    image_size: int
    patch_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    multimodal_layers: int
    vocab_size: int
    max_text_length: int
    image_vocab_size: int

    @property
    def num_patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    def to_flava(self) -> FlavaConfig:
        """The same geometry as transformers' own configuration class."""
        block = {
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
        }
        return FlavaConfig(
            image_config={
                **block,
                "image_size": self.image_size,
                "patch_size": self.patch_size,
                "vocab_size": self.image_vocab_size,
            },
            text_config={
                **block,
                "vocab_size": self.vocab_size,
                "max_position_embeddings": self.max_text_length,
            },
            multimodal_config={**block, "num_hidden_layers": self.multimodal_layers},
            image_codebook_config={"vocab_size": self.image_vocab_size},
            hidden_size=self.hidden_size,
            projection_dim=self.hidden_size,
            init_codebook=False,
        )


@dataclass(frozen=True)
class OptimizationConfig:
    updates: int
    batch_size: int
    learning_rate: float
    warmup_updates: int
    weight_decay: float
    betas: tuple[float, float]
    gradient_clip: float
    bf16: bool
    threads: int


@dataclass(frozen=True)
class ObjectivesConfig:
    patch_keep: float
    full_patches_from: float
    multimodal_every: int
    multimodal_batch: int
    multimodal_weight: float
    itm_mismatch: float
    mlm_every: int
    mlm_batch: int
    mlm_weight: float
    mlm_max_length: int
    mask_probability: float


@dataclass(frozen=True)
class FusionConfig:
    updates: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class AugmentationConfig:
    rotation: float
    scale: tuple[float, float]
    stretch: float
    shift: float
    colour: float
    outline: float
    flatten: float
    fill_out: float
    greyscale: float
    background: float
    blur: float
    noise: float


@dataclass(frozen=True)
class CaptionsConfig:
    name: float
    template: float
    skin: float


@dataclass(frozen=True)
class LoggingConfig:
    curve_every: int
    evaluate_every: int
    checkpoint_every: int


@dataclass(frozen=True)
class TrainConfig:
    name: str
    seed: int
    data: Path
    output: Path
    model: ModelConfig
    optimization: OptimizationConfig
    objectives: ObjectivesConfig
    fusion: FusionConfig
    augmentation: AugmentationConfig
    captions: CaptionsConfig
    logging: LoggingConfig


class ConfigError(ValueError):
    """The configuration file does not have the shape that training needs."""


def load_config(path: Path) -> TrainConfig:
    """Read `path`; raises ConfigError naming the key that is unknown, missing or of the wrong type."""
    return _build(TrainConfig, yaml.safe_load(path.read_text(encoding="utf-8")), where=path.name)


def as_plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON types, for the record beside a checkpoint."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, Path):
            return value.as_posix()
        return list(value) if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config))


def _build(kind: type[Any], raw: Any, where: str) -> Any:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(raw).__name__}")
    types = get_type_hints(kind)
    if unknown := sorted(set(raw) - set(types)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, known are {sorted(types)}")
    if missing := sorted(set(types) - set(raw)):
        raise ConfigError(f"{where}: missing key {missing[0]!r}")
    return kind(**{key: _convert(types[key], raw[key], f"{where}.{key}") for key in types})


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)  # type: ignore[arg-type]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[float, float] and isinstance(value, list) and len(value) == 2:
        return (float(value[0]), float(value[1]))
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")
