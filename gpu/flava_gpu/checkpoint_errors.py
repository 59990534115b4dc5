"""What can be wrong with a checkpoint folder, as one family of exceptions; the code is stable, the text is for people."""

from __future__ import annotations

from typing import ClassVar


class CheckpointError(ValueError):
    """A checkpoint that cannot be used as it is."""

    code: ClassVar[str] = "checkpoint_error"


class CheckpointFileMissingError(CheckpointError):
    """A file that the folder, or its shard index, promises is not there."""

    code = "checkpoint_file_missing"


class CheckpointCorruptError(CheckpointError):
    """A header that does not parse, or a file shorter than its header says."""

    code = "checkpoint_corrupt"


class CheckpointDtypeError(CheckpointError):
    """Weights in a number format that is not a float this reader can widen."""

    code = "checkpoint_dtype_unknown"


class CheckpointUnsafeError(CheckpointError):
    """A pickle that wants to build more than tensors."""

    code = "checkpoint_unsafe"


class CheckpointTensorError(CheckpointError):
    """Tensors missing, unexpected or of another shape than the geometry asks for."""

    code = "checkpoint_tensors"


class CheckpointConfigError(CheckpointError):
    """A config, tokenizer or preprocessor that the engine does not implement."""

    code = "checkpoint_config"
