// tokenizer.json: the parts of Hugging Face's format that an uncased BERT tokenizer uses, and a refusal by name of everything else.
import { z } from 'zod'
import { ModelPackageError } from '../errors.ts'

const specialTokenSchema = z.object({ SpecialToken: z.object({ id: z.string(), type_id: z.int() }) })
const sequenceSchema = z.object({ Sequence: z.object({ id: z.enum(['A', 'B']), type_id: z.int() }) })
const templateSchema = z.array(z.union([specialTokenSchema, sequenceSchema]))

const addedTokenSchema = z.object({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  // lstrip and rstrip are ignored: they take whitespace into the token, which the pre-tokenizer drops in any case.
  single_word: z.literal(false),
  normalized: z.literal(false),
})

/** A loop of our own over FLAVA's 30,522 pieces: zod's record takes 70 ms more, at every cold start. */
const vocabularySchema = z.unknown().transform((value, context): Map<string, number> => {
  const vocabulary = new Map<string, number>()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    context.addIssue('expected ids by piece')
    return z.NEVER
  }
  const entries: [string, unknown][] = Object.entries(value)
  for (const [piece, id] of entries) {
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0) {
      context.addIssue({ code: 'custom', path: [piece], message: 'expected an integer of at least 0' })
      return z.NEVER
    }
    vocabulary.set(piece, id)
  }
  return vocabulary
})

const tokenizerSchema = z.object({
  added_tokens: z.array(addedTokenSchema),
  normalizer: z.object({
    type: z.literal('BertNormalizer'),
    clean_text: z.literal(true),
    handle_chinese_chars: z.literal(true),
    strip_accents: z.literal(true).nullable(),
    lowercase: z.literal(true),
  }),
  pre_tokenizer: z.object({ type: z.literal('BertPreTokenizer') }),
  post_processor: z.object({ type: z.literal('TemplateProcessing'), single: templateSchema, pair: templateSchema }),
  model: z.object({
    type: z.literal('WordPiece'),
    unk_token: z.string(),
    continuing_subword_prefix: z.string(),
    max_input_chars_per_word: z.int().positive(),
    vocab: vocabularySchema,
  }),
})

export interface TokenizerDefinition {
  addedTokens: { id: number; content: string }[]
  vocabulary: Map<string, number>
  unknownToken: string
  continuingPrefix: string
  maxCharactersPerWord: number
  classToken: string
  separatorToken: string
}

/** Throws ModelPackageError naming the first field that is not an uncased BERT WordPiece tokenizer's. */
export function parseTokenizerJson(tokenizerJson: unknown): TokenizerDefinition {
  const parsed = tokenizerSchema.safeParse(tokenizerJson)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new ModelPackageError(`tokenizer.json: ${issue?.path.join('.') || 'file'}: ${issue?.message}`, {
      cause: parsed.error,
    })
  }
  const { added_tokens: addedTokens, model, post_processor: processor } = parsed.data
  return {
    addedTokens: addedTokens.map(({ id, content }) => ({ id, content })),
    vocabulary: model.vocab,
    unknownToken: model.unk_token,
    continuingPrefix: model.continuing_subword_prefix,
    maxCharactersPerWord: model.max_input_chars_per_word,
    ...readBertTemplate(describeTemplate(processor.single), describeTemplate(processor.pair)),
  }
}

function readBertTemplate(single: string, pair: string): { classToken: string; separatorToken: string } {
  const [, classToken = '', separatorToken = ''] = /^(\S+):0 \$A:0 (\S+):0$/.exec(single) ?? []
  if (classToken === '' || pair !== `${single} $B:1 ${separatorToken}:1`) {
    throw new ModelPackageError(
      `tokenizer.json: post_processor: expected "[CLS]:0 $A:0 [SEP]:0" and "… $B:1 [SEP]:1", got "${single}" and "${pair}"`,
    )
  }
  return { classToken, separatorToken }
}

function describeTemplate(template: z.infer<typeof templateSchema>): string {
  return template
    .map((piece) =>
      'Sequence' in piece
        ? `$${piece.Sequence.id}:${piece.Sequence.type_id}`
        : `${piece.SpecialToken.id}:${piece.SpecialToken.type_id}`,
    )
    .join(' ')
}
