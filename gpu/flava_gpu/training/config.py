"""Configurations: YAML in, frozen dataclasses out. An unknown or missing key is an error; so is a value of another type.

Each stage has its own dataclass beside its script; the parts that several stages share are here.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from transformers import FlavaConfig

T = TypeVar("T")
Precision = Literal["f32", "bf16", "fp16"]


class ConfigError(ValueError):
    """The configuration file does not have the shape that its stage needs."""


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
    codebook_hidden_size: int

    @property
    def patches_per_side(self) -> int:
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.patches_per_side**2

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
            image_codebook_config={"vocab_size": self.image_vocab_size, "hidden_size": self.codebook_hidden_size},
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
    precision: Precision
    threads: int
    ema_decay: float = 0.0
    """Of the averaged weights that are evaluated and saved; 0 keeps none."""


@dataclass(frozen=True)
class InitConfig:
    """Part of a checkpoint to start from: tensors whose Hugging Face names begin with one of `include`."""

    source: Path = field(metadata={"key": "from"})
    include: tuple[str, ...] = ("",)
    exclude: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    """Of the model's parameters, those that training leaves as they are."""


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
class LoggingConfig:
    curve_every: int
    evaluate_every: int
    checkpoint_every: int


def check_batch_size(batch_size: int, items: int, what: str, key: str = "optimization.batch_size") -> None:
    """Raises ConfigError where a batch without repetition cannot be drawn."""
    if batch_size > items:
        raise ConfigError(f"{key}: {batch_size} is more than the {items} {what}")


def load_config(kind: type[T], path: Path) -> T:
    """Read `path`; raises ConfigError naming the file and the key that is unknown, missing or of the wrong type.

    `base:` names another file, relative to this one, whose values hold where this one has none.
    """
    return _build(kind, _read(path), path.name)


def _read(path: Path) -> Any:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if isinstance(raw, dict) and isinstance(base := raw.pop("base", None), str):
        return _merged(_read(path.parent / base), raw)
    return raw


def _merged(base: Any, own: Any) -> Any:
    """Mappings key by key; anything else is replaced whole."""
    if not (isinstance(base, dict) and isinstance(own, dict)):
        return own
    return {**base, **{key: _merged(base.get(key), value) for key, value in own.items()}}


def as_plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON types under its YAML keys: the record beside a checkpoint, and what load_config reads again."""
    return {_key(item): _plain(getattr(config, item.name)) for item in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_plain(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return value.as_posix()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _key(item: dataclasses.Field[Any]) -> str:
    return item.metadata.get("key", item.name)


def _build(kind: type[T], raw: Any, where: str) -> T:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(raw).__name__}")
    known = {_key(item): item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(str(key) for key in set(raw) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, known are {sorted(known)}")
    required = {
        key
        for key, item in known.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(raw)):
        raise ConfigError(f"{where}: missing key {missing[0]!r}")
    hints = get_type_hints(kind)
    return kind(
        **{known[key].name: _convert(hints[known[key].name], value, f"{where}.{key}") for key, value in raw.items()}
    )


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # `X | None`
        return None if value is None else _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) == len(arguments):
            return tuple(
                _convert(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(arguments, value, strict=True))
            )
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    expected = f"one of {list(arguments)}" if origin is Literal else getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{where}: expected {expected}, got {value!r}")
