// The retrieval suite: zero-shot text → image and image → text on the data set's held-out splits, through the edge engine and through
// PyTorch in fp32, beside what needs no model. docs/evaluation.md says what the splits mean.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { recordScores } from '../export/record-scores.ts'
import { limitsOf } from '../export/variants.ts'
import { readManifest } from '../model/load-model.ts'
import { embedWithEdge } from './edge-engine.ts'
import type { Engine, EngineName } from './engine.ts'
import { rankByPixels } from './pixel-floor.ts'
import { chanceOf, recallsOf } from './ranks.ts'
import { DIRECTIONS, scoreEngine } from './score-splits.ts'
import { findCheckpoint } from './find-checkpoint.ts'
import { formatCosts, formatJsonLine, formatTable, isWithinGate, quantizationCosts } from './score-table.ts'
import type { ScoreRow } from './score-table.ts'
import { saveScores } from './scores-file.ts'
import { buildSplit, readConceptRows, type DataRow, type RetrievalSplit, type SplitName } from './splits.ts'
import { embedWithTorch } from './torch-engine.ts'

export const RETRIEVAL_USAGE = `usage: npm run eval -- retrieval [options]

  --engine edge|torch|both   the WASM engine, PyTorch fp32, or both (default: both)
  --split A|B|C|dev          may be given several times (default: A, B and C; B is scored in its two pools)
  --json                     one object a line instead of tables, engines only
  --save                     also write scores.json into the model package, and the scores into its card and parity.json
  --model <folder>           model package (default: models/flava-emoji)
  --checkpoint <folder>      what it was made from (default: its checkpoint/, or that of a package beside it)
  --data <folder>            (default: data/emoji)

ends with 1 when quantization costs more R@1 on split A than its gate allows`

const SPLITS_OF_FLAG = { A: ['A'], B: ['B', 'B1652'], C: ['C'], dev: ['dev'] } as const satisfies Record<
  string,
  readonly SplitName[]
>

const flagsSchema = z.strictObject({
  engine: z.enum(['edge', 'torch', 'both']).default('both'),
  split: z.array(z.enum(['A', 'B', 'C', 'dev'])).default(['A', 'B', 'C']),
  json: z.boolean().default(false),
  save: z.boolean().default(false),
  model: z.string().default('models/flava-emoji'),
  checkpoint: z.string().optional(),
  data: z.string().default('data/emoji'),
})

type Flags = z.infer<typeof flagsSchema>

/** Splits whose concepts were trained on, so that nearest training pictures are an answer. */
const SPLITS_WITH_PIXEL_FLOOR: readonly SplitName[] = ['A', 'dev']

/** Runs the suite and returns the exit code; throws ZodError for flags it does not know. */
export async function runRetrieval(args: readonly string[]): Promise<number> {
  const flags = readFlags(args)
  const rows = readConceptRows(flags.data)
  const splits = flags.split.flatMap((flag) => SPLITS_OF_FLAG[flag]).map((name) => buildSplit(name, rows))
  const scores = await scoreEngines(flags, splits)
  const costs = quantizationCosts(scores)
  const gatePoints = limitsOf((await readManifest(flags.model)).variant).retrievalPoints
  if (flags.json) console.log(scores.map(formatJsonLine).join('\n'))
  if (!flags.json || flags.save) {
    const withFloors = [...scores, ...scoreChance(splits), ...(await scorePixels(flags.data, splits, rows))]
    const ordered = withFloors.toSorted((a, b) => a.direction.localeCompare(b.direction))
    if (!flags.json) console.log(`${formatTable(splits, ordered)}\n`)
    if (flags.save) {
      const saved = {
        modelDir: flags.model,
        dataDir: flags.data,
        rows: ordered,
        costs,
        gatePoints,
        args: ['retrieval', ...args],
      }
      console.error(`wrote ${await saveScores(saved)}`)
      await recordScores(flags.model)
    }
  }
  // Standard error under --json, which promises one kind of object on standard output.
  const say = flags.json ? console.error : console.log
  say(formatCosts(costs, gatePoints))
  return isWithinGate(costs, gatePoints) ? 0 : 1
}

async function scoreEngines(flags: Flags, splits: readonly RetrievalSplit[]): Promise<ScoreRow[]> {
  const engines: Record<EngineName, Engine> = {
    edge: (request) => embedWithEdge(flags.model, request),
    torch: async (request) => await embedWithTorch(flags.checkpoint ?? (await findCheckpoint(flags.model)), request),
  }
  const names: readonly EngineName[] = flags.engine === 'both' ? ['edge', 'torch'] : [flags.engine]
  const scores: ScoreRow[] = []
  for (const engine of names) {
    const recalls = await scoreEngine(engines[engine], splits, join(flags.data, 'images'))
    scores.push(...recalls.map((row) => ({ suite: 'retrieval' as const, engine, ...row })))
  }
  return scores
}

/** Guessing, on the same queries and candidates. */
function scoreChance(splits: readonly RetrievalSplit[]): ScoreRow[] {
  return splits.flatMap((split) =>
    DIRECTIONS.map((direction) => {
      const queries = split.galleries.flatMap(({ pictures, queries: asking }) => {
        const gallerySize = direction === 'i2t' ? split.names.size : pictures.length
        return asking.map(() => ({ rank: 0, gallerySize }))
      })
      return { suite: 'retrieval', split: split.name, engine: 'chance', direction, ...chanceOf(queries) } as const
    }),
  )
}

async function scorePixels(
  dataDir: string,
  splits: readonly RetrievalSplit[],
  rows: readonly DataRow[],
): Promise<ScoreRow[]> {
  const training = rows
    .filter((row) => row.style_role === 'train-style' && row.concept_split === 'train')
    .map(({ image, key }) => ({ image, concept: key }))
  const scores: ScoreRow[] = []
  for (const { name: split, galleries } of splits) {
    if (!SPLITS_WITH_PIXEL_FLOOR.includes(split)) continue
    const queries = galleries.flatMap((gallery) => gallery.queries)
    for (const [engine, kind] of [
      ['pixels', 'canvas'],
      ['pixels-trimmed', 'trimmed'],
    ] as const) {
      const ranked = await rankByPixels(join(dataDir, 'images'), queries, training, kind)
      for (const direction of DIRECTIONS) {
        scores.push({ suite: 'retrieval', split, engine, direction, ...recallsOf(ranked[direction]) })
      }
    }
  }
  return scores
}

function readFlags(args: readonly string[]): Flags {
  const { values } = parseArgs({
    args: [...args],
    options: {
      engine: { type: 'string' },
      split: { type: 'string', multiple: true },
      json: { type: 'boolean' },
      save: { type: 'boolean' },
      model: { type: 'string' },
      checkpoint: { type: 'string' },
      data: { type: 'string' },
    },
  })
  return flagsSchema.parse({ ...values })
}
