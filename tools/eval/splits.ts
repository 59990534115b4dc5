// The retrieval splits: which pictures ask, which names and pictures are candidates. Reads the data set's rows, nothing of models.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { DataMissingError, EvaluationDataError } from './errors.ts'

export type SplitName = 'A' | 'B' | 'B1652' | 'C' | 'dev'

export interface Picture {
  /** Path below the data set's images/. */
  image: string
  /** Key of the concept it shows. */
  concept: string
}

/** Pictures of one style: a name is looked for among these only, so each query has exactly one right picture. */
export interface Gallery {
  style: string
  pictures: readonly Picture[]
  /** Those of `pictures` that are asked for, and ask. */
  queries: readonly Picture[]
}

export interface RetrievalSplit {
  name: SplitName
  about: string
  /** Candidate names by concept key; unique. */
  names: ReadonlyMap<string, string>
  galleries: readonly Gallery[]
}

const rowSchema = z.object({
  image: z.string(),
  style: z.string(),
  style_role: z.enum(['train-style', 'dev-style', 'test-style']),
  key: z.string(),
  concept_split: z.enum(['train', 'dev', 'test', 'flag', 'extra']),
  name: z.string(),
  kind: z.enum(['concept', 'countryflag', 'extra']),
  skin: z.boolean(),
})

export type DataRow = z.infer<typeof rowSchema>

interface SplitRule {
  about: string
  role: DataRow['style_role']
  /** Concepts that ask. */
  asks: (row: DataRow) => boolean
  /** Concepts that are candidates. */
  competes: (row: DataRow) => boolean
}

const isTest = (row: DataRow): boolean => row.concept_split === 'test'
const isTrain = (row: DataRow): boolean => row.concept_split === 'train'

const RULES: Record<SplitName, SplitRule> = {
  A: { about: 'held-out style, seen concepts', role: 'test-style', asks: isTrain, competes: isTrain },
  B: { about: 'seen styles, held-out concepts', role: 'train-style', asks: isTest, competes: isTest },
  B1652: { about: 'as B, among all concepts', role: 'train-style', asks: isTest, competes: () => true },
  C: { about: 'held-out style, held-out concepts', role: 'test-style', asks: isTest, competes: isTest },
  dev: { about: 'tuning style, seen concepts', role: 'dev-style', asks: isTrain, competes: isTrain },
}

/**
 * Plain pictures of concepts: no skin tones, country flags or extras.
 * @throws DataMissingError naming the command that makes them; EvaluationDataError for a row it cannot read
 */
export function readConceptRows(dataDir: string): DataRow[] {
  const path = join(dataDir, 'pairs.jsonl')
  if (!existsSync(path)) throw new DataMissingError(`${path} is missing: run \`npm run data\` first`)
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  return lines
    .map((line, index) => parseRow(`${path}:${index + 1}`, line))
    .filter((row) => row.kind === 'concept' && !row.skin)
}

function parseRow(where: string, line: string): DataRow {
  const parsed = rowSchema.safeParse(JSON.parse(line))
  if (parsed.success) return parsed.data
  throw new EvaluationDataError(`${where}: ${z.prettifyError(parsed.error)}`, { cause: parsed.error })
}

/** @throws EvaluationDataError when a split is empty, or two of its concepts share a name and a query had two right answers */
export function buildSplit(name: SplitName, rows: readonly DataRow[]): RetrievalSplit {
  const { about, role, asks, competes } = RULES[name]
  const candidates = rows.filter((row) => row.style_role === role && competes(row))
  const galleries = [...Map.groupBy(candidates, (row) => row.style)].map(([style, inStyle]) => ({
    style,
    pictures: inStyle.map(toPicture),
    queries: inStyle.filter(asks).map(toPicture),
  }))
  if (!galleries.some(({ queries }) => queries.length > 0)) throw new EvaluationDataError(`split ${name}: no pictures`)
  return { name, about, names: uniqueNames(name, candidates), galleries }
}

function toPicture({ image, key }: DataRow): Picture {
  return { image, concept: key }
}

function uniqueNames(split: SplitName, candidates: readonly DataRow[]): Map<string, string> {
  const names = new Map(candidates.map(({ key, name }) => [key, name]))
  const seen = new Map<string, string>()
  for (const [key, name] of names) {
    const other = seen.get(name.toLowerCase())
    if (other !== undefined) throw new EvaluationDataError(`split ${split}: "${name}" names both ${other} and ${key}`)
    seen.set(name.toLowerCase(), key)
  }
  return names
}
