"""The model's own WordPiece vocabulary, trained on training captions and glosses, with BERT's normalization."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(len(SPECIAL_TOKENS))


def load_or_train_tokenizer(path: Path, texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """The tokenizer that `path` holds; the first time it is trained and written there whole or not at all."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        train_tokenizer(texts, vocab_size).save(str(partial))
        partial.replace(path)
    return Tokenizer.from_file(str(path))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A lower-casing BERT tokenizer of at most `vocab_size` pieces.

    Not deterministic: `tokenizers` numbers equally frequent pieces in another order every time, so a run trains its
    tokenizer once and keeps it.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=SPECIAL_TOKENS, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS_ID), ("[SEP]", SEP_ID)],
    )
    return tokenizer
