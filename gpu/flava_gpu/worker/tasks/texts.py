"""Text to token ids, as the edge's tokenizer does it: pairs cut longest side first, ids framed by [CLS] and [SEP]."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenizers import Tokenizer

from flava_gpu.worker.job import JobError

HALF_PAIR = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
"""What an unpaired surrogate counts as at the edge (src/tokenize/normalizer.ts); the tokenizer drops it."""


@dataclass(frozen=True)
class Tokens:
    """`input_ids` and `token_type_ids` of one sequence, at its true length."""

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    count: int  # before truncation, special tokens included

    @property
    def is_truncated(self) -> bool:
        return self.count > len(self.input_ids)


class TextReader:
    """A checkpoint's tokenizer with the length that its model takes."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, vocab_size: int) -> None:
        self.max_length = max_length
        self._vocab_size = vocab_size
        self._whole = tokenizer
        self._whole.no_padding()
        self._whole.no_truncation()
        self._cut = Tokenizer.from_str(tokenizer.to_str())
        self._cut.enable_truncation(max_length)
        self.mask_id = self._special("[MASK]")
        self._class_id = self._special("[CLS]")
        self._separator_id = self._special("[SEP]")

    def of_length(self, max_length: int) -> TextReader:
        """The same tokenizer, cutting elsewhere."""
        return TextReader(Tokenizer.from_str(self._whole.to_str()), max_length, self._vocab_size)

    def read(self, text: str, pair: str | None = None) -> Tokens:
        text = HALF_PAIR.sub(REPLACEMENT, text)
        pair = None if pair is None else HALF_PAIR.sub(REPLACEMENT, pair)
        whole = self._whole.encode(text, pair)
        kept = whole if len(whole.ids) <= self.max_length else self._cut.encode(text, pair)
        return Tokens(tuple(kept.ids), tuple(kept.type_ids), len(whole.ids))

    def frame(self, ids: list[int], param: str) -> Tokens:
        """Ids as a caller sends them, with or without their [CLS] and [SEP]; token types are zeros."""
        wrong = next((token for token in ids if token >= self._vocab_size), None)
        if wrong is not None:
            message = f"{param}: expected token ids below {self._vocab_size}, got {wrong}"
            raise JobError("invalid_input", message, param=param)
        begin = 1 if ids[:1] == [self._class_id] else 0
        end = len(ids) - 1 if len(ids) > begin and ids[-1] == self._separator_id else len(ids)
        inner = ids[begin:end]
        kept = [self._class_id, *inner[: self.max_length - 2], self._separator_id]
        return Tokens(tuple(kept), (0,) * len(kept), len(inner) + 2)

    def token(self, token_id: int) -> str:
        """The word piece of an id; padding rows of the vocabulary have none."""
        return self._whole.id_to_token(token_id) or ""

    def _special(self, token: str) -> int:
        found = self._whole.token_to_id(token)
        if found is None:
            raise JobError("checkpoint_config", f"the model's tokenizer has no {token}")
        return found
