// The tokenizer against Python's `tokenizers` on the fixtures of gpu/scripts/make_tokenizer_fixtures.py, and its edges without them.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ModelPackageError, ShapeMismatchError } from '../../src/errors.ts'
import { createTokenizer, encode, type Tokenizer } from '../../src/tokenize/tokenizer.ts'

const MODEL_TOKENIZER = 'models/flava-emoji/tokenizer.json'
const SMALLEST_ALLOWED = 2000
const caseSchema = z.object({
  text: z.string(),
  text_pair: z.string().nullable(),
  max_length: z.int(),
  input_ids: z.array(z.int()),
  token_type_ids: z.array(z.int()),
  token_count: z.int(),
})
const fixtureSchema = z.object({
  strings: z.int(),
  tokenizer: z.record(z.string(), z.unknown()).optional(),
  tokenizer_sha256: z.string().optional(),
  cases: z.array(caseSchema),
})
type Case = z.infer<typeof caseSchema>

function readFixture(name: string): z.infer<typeof fixtureSchema> {
  const bytes = gunzipSync(readFileSync(`test/fixtures/tokenize/${name}.json.gz`))
  return fixtureSchema.parse(JSON.parse(bytes.toString('utf8')))
}

function findDifferences(tokenizer: Tokenizer, cases: readonly Case[]): unknown[] {
  return cases
    .map((expected) => {
      const got = encode(tokenizer, expected.text, expected.text_pair ?? undefined, expected.max_length)
      const isEqual =
        String(got.inputIds) === String(expected.input_ids) &&
        String(got.tokenTypeIds) === String(expected.token_type_ids) &&
        got.tokenCount === expected.token_count &&
        got.isTruncated === expected.token_count > expected.max_length
      return isEqual ? undefined : { expected, got }
    })
    .filter((difference) => difference !== undefined)
}

const SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']

/** A tokenizer.json of the given words after the five special tokens. */
function tokenizerJson(words: readonly string[], overrides: Record<string, unknown> = {}): Record<string, unknown> {
  const special = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } })
  const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } })
  const single = [special('[CLS]', 0), sequence('A', 0), special('[SEP]', 0)]
  return {
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'TemplateProcessing', single, pair: [...single, sequence('B', 1), special('[SEP]', 1)] },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries([...SPECIAL_TOKENS, ...words].map((word, id) => [word, id])),
    },
    ...overrides,
  }
}

const small = createTokenizer(tokenizerJson(['cat', '##s', 'a', '##a', '-', 'σ', '##σ', '中', '國']))

describe('parity with Python tokenizers', () => {
  test('token ids, token types and counts are identical on every string under the vocabulary of single characters', () => {
    const fixture = readFixture('probe')
    expect(fixture.strings).toBeGreaterThanOrEqual(SMALLEST_ALLOWED)
    expect(findDifferences(createTokenizer(fixture.tokenizer), fixture.cases)).toEqual([])
  })

  test('token ids, token types and counts are identical on every string under the embedded vocabulary', () => {
    const fixture = readFixture('model')
    const bytes = readFileSync(MODEL_TOKENIZER)
    const digest = createHash('sha256').update(bytes).digest('hex')
    expect(fixture.tokenizer_sha256, 'run gpu/scripts/make_tokenizer_fixtures.py for this tokenizer.json').toBe(digest)
    expect(fixture.strings).toBeGreaterThanOrEqual(SMALLEST_ALLOWED)
    expect(findDifferences(createTokenizer(JSON.parse(bytes.toString('utf8'))), fixture.cases)).toEqual([])
  })

  test('@huggingface/tokenizers gives other ids on some of these strings, which is why the tokenizer is our own', () => {
    const { tokenizer, cases } = readFixture('probe')
    const theirs = new HuggingFaceTokenizer(tokenizer ?? {}, {})
    const untruncated = cases.filter((item) => item.text_pair === null && item.token_count <= item.max_length)
    const differing = untruncated.filter((item) => String(theirs.encode(item.text).ids) !== String(item.input_ids))
    expect(differing.length).toBeGreaterThan(0)
  })
})

describe('encode', () => {
  test('cuts words greedily and gives one unknown id for a word that cannot be spelt', () => {
    expect(encode(small, 'Cats, catx cat-aa', undefined, 77).inputIds).toEqual([2, 5, 6, 1, 1, 5, 9, 7, 8, 3])
  })

  test('lower-cases a word-final capital sigma to σ and puts ideographs apart', () => {
    expect(encode(small, 'ΣΣ 中國', undefined, 77).inputIds).toEqual([2, 10, 11, 12, 13, 3])
  })

  test('reads special tokens written out in the text as those tokens, in their exact case only', () => {
    expect(encode(small, 'cat[MASK]cat [SEP]', undefined, 77).inputIds).toEqual([2, 5, 4, 5, 3, 3])
    expect(encode(small, '[mask]', undefined, 77).inputIds).toEqual([2, 1, 1, 1, 3])
  })

  test('reports the count before truncation and keeps the last separator', () => {
    const encoded = encode(small, 'cat '.repeat(100), undefined, 77)
    expect(encoded).toMatchObject({ tokenCount: 102, isTruncated: true })
    expect(encoded.inputIds).toEqual([2, ...Array.from({ length: 75 }, () => 5), 3])
  })

  test('an empty second text is a pair, a missing one is not', () => {
    expect(encode(small, 'cat', '', 77)).toMatchObject({ inputIds: [2, 5, 3, 3], tokenTypeIds: [0, 0, 0, 1] })
    expect(encode(small, 'cat', undefined, 77)).toMatchObject({ inputIds: [2, 5, 3], tokenTypeIds: [0, 0, 0] })
  })

  test('a word of 100 characters is cut into pieces, one of 101 is unknown', () => {
    expect(encode(small, 'a'.repeat(100), undefined, 200).tokenCount).toBe(102)
    expect(encode(small, 'a'.repeat(101), undefined, 200).inputIds).toEqual([2, 1, 3])
  })

  test('takes an unpaired surrogate for U+FFFD and drops it', () => {
    expect(encode(small, '\uD800cat\uDC00s', undefined, 77).inputIds).toEqual([2, 5, 6, 3])
  })

  test('never throws and always frames at most maxLength ids on any string, surrogates unpaired or not', () => {
    const anyText = fc.string({ unit: 'binary', maxLength: 300 })
    const brokenText = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 300 }).map((units) => {
      return String.fromCharCode(...units)
    })
    const text = fc.oneof(anyText, brokenText)
    const property = fc.property(
      text,
      fc.option(text, { nil: undefined }),
      fc.integer({ min: 3, max: 77 }),
      (a, b, limit) => {
        const { inputIds, tokenTypeIds, tokenCount, isTruncated } = encode(small, a, b, limit)
        expect(inputIds.length).toBe(Math.min(tokenCount, limit))
        expect(tokenTypeIds.length).toBe(inputIds.length)
        expect(isTruncated).toBe(tokenCount > limit)
        expect([inputIds[0], inputIds.at(-1)]).toEqual([2, 3])
        expect(tokenTypeIds.at(-1)).toBe(b === undefined ? 0 : 1)
      },
    )
    fc.assert(property, { seed: 20261123, numRuns: 1000 })
  })

  test('refuses a limit without room for the special tokens', () => {
    expect(() => encode(small, 'cat', 'cat', 2)).toThrow(ShapeMismatchError)
    expect(encode(small, 'cat', 'cat', 3).inputIds).toEqual([2, 3, 3])
  })
})

describe('createTokenizer', () => {
  test('names the part of tokenizer.json that is not an uncased BERT tokenizer', () => {
    const unsupported = [
      ['model.type', { model: { type: 'BPE' } }],
      ['normalizer', { normalizer: { type: 'NFC' } }],
      ['pre_tokenizer.type', { pre_tokenizer: { type: 'Whitespace' } }],
      ['post_processor', { post_processor: { type: 'TemplateProcessing', single: [], pair: [] } }],
    ] as const
    for (const [field, override] of unsupported) {
      expect(() => createTokenizer(tokenizerJson([], override))).toThrow(new RegExp(`tokenizer.json: ${field}`))
    }
    expect(() => createTokenizer('not an object')).toThrow(ModelPackageError)
  })

  test.each([
    [{ cat: -1 }, 'model.vocab.cat: expected an integer of at least 0'],
    [{ cat: 1.5 }, 'model.vocab.cat: expected an integer of at least 0'],
    [{ cat: '1' }, 'model.vocab.cat: expected an integer of at least 0'],
    [['cat'], 'model.vocab: expected ids by piece'],
    [undefined, 'model.vocab: expected ids by piece'],
  ])('refuses the vocabulary %j', (vocab, message) => {
    const json = tokenizerJson(['cat'])
    const create = () => createTokenizer({ ...json, model: { ...Object(json['model']), vocab } })
    expect(create).toThrow(ModelPackageError)
    expect(create).toThrow(`tokenizer.json: ${message}`)
  })

  test('refuses a vocabulary without the unknown token', () => {
    const json = tokenizerJson(['cat'])
    expect(() => createTokenizer({ ...json, model: { ...Object(json['model']), unk_token: '[NONE]' } })).toThrow(
      '[NONE]',
    )
  })
})
