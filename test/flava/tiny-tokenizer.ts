// A WordPiece tokenizer of letters and a few words, as tokenizer.json.

const SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']

/** @param vocabularySize ids there are; those past the letters are words `w5`, `w6`, ... */
export function tinyTokenizer(vocabularySize: number) {
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('')
  const known = [...SPECIAL_TOKENS, ...letters].slice(0, vocabularySize)
  const words = Array.from({ length: vocabularySize - known.length }, (_, index) => `w${index + known.length}`)
  const token = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } })
  const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } })
  return {
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({ id, content, single_word: false, normalized: false })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [token('[CLS]', 0), sequence('A', 0), token('[SEP]', 0)],
      pair: [token('[CLS]', 0), sequence('A', 0), token('[SEP]', 0), sequence('B', 1), token('[SEP]', 1)],
    },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries([...known, ...words].map((content, id) => [content, id])),
    },
  }
}
