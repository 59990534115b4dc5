// The jobs of a chaos run: matches, embeddings, masked words, batches, fine-tuning, poison and cancellations, in seeded order.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Random } from './random.ts'

const MODEL = 'flava-emoji'
const TEXTS = ['a cat', 'a dog', 'a birthday cake', 'a red car', 'a tree', 'a smiling face', 'the sun', 'a house']
const PICTURE = dataUri('examples/cat.png', 'image/png')
/** Good to its header, so the gateway takes it, and cut off behind it, so that no attempt can succeed. */
const POISON = dataUri('examples/cat.png', 'image/png', 200)

/** Of every batch. */
export const BATCH_LINE_IDS: readonly string[] = Array.from({ length: 20 }, (_, index) => `line-${index}`)

export interface PlannedJob {
  kind: 'match' | 'embeddings' | 'fill-mask' | 'poison' | 'batch' | 'fine-tuning'
  path: string
  body: Record<string, unknown>
  /** JSONL that has to be uploaded first; its id goes into `fileField`. */
  file?: { purpose: 'batch' | 'fine-tune'; content: string; field: string }
  isCancelled: boolean
}

/** How many of `count` are of each kind: most are interactive, as in a service. */
export function planJobs(count: number, random: Random): PlannedJob[] {
  const few = (perMille: number): number => Math.max(1, Math.round((count * perMille) / 1000))
  const kinds: [PlannedJob['kind'], number][] = [
    ['fine-tuning', few(3)],
    ['batch', few(10)],
    ['poison', few(10)],
    ['embeddings', few(80)],
    ['fill-mask', few(80)],
  ]
  const planned = kinds.flatMap(([kind, number]) => Array.from({ length: number }, () => kind))
  const matches = Array.from({ length: Math.max(0, count - planned.length) }, () => 'match' as const)
  return random.shuffle([...planned, ...matches]).map((kind) => ({
    ...describe(kind, random),
    isCancelled: random.next() < 0.03,
  }))
}

function describe(kind: PlannedJob['kind'], random: Random): Omit<PlannedJob, 'isCancelled'> {
  const text = random.pick(TEXTS)
  switch (kind) {
    case 'match':
    case 'poison': {
      const image = kind === 'poison' ? POISON : PICTURE
      return { kind, path: '/v1/multimodal/match', body: { model: MODEL, pairs: [{ image, text }] } }
    }
    case 'embeddings':
      return { kind, path: '/v1/multimodal/embeddings', body: { model: MODEL, input: [{ image: PICTURE, text }] } }
    case 'fill-mask':
      return {
        kind,
        path: '/v1/multimodal/fill-mask',
        body: { model: MODEL, input: [{ image: PICTURE, text: 'a [MASK]' }], top_k: 3 },
      }
    case 'batch': {
      const lines = BATCH_LINE_IDS.map((id) => ({
        custom_id: id,
        method: 'POST',
        url: '/v1/embeddings',
        body: { model: MODEL, input: random.pick(TEXTS) },
      }))
      return {
        kind,
        path: '/v1/batches',
        body: { endpoint: '/v1/embeddings', completion_window: '24h' },
        file: { purpose: 'batch', content: toJsonLines(lines), field: 'input_file_id' },
      }
    }
    case 'fine-tuning': {
      const rows = Array.from({ length: 16 }, (_, index) => ({
        text: `${random.pick(TEXTS)} ${index}`,
        label: index % 2 === 0 ? 'even' : 'odd',
      }))
      return {
        kind,
        path: '/v1/fine_tuning/jobs',
        body: {
          model: MODEL,
          method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 2, batch_size: 8 } } },
        },
        file: { purpose: 'fine-tune', content: toJsonLines(rows), field: 'training_file' },
      }
    }
  }
}

function toJsonLines(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('')
}

function dataUri(path: string, mediaType: string, bytes?: number): string {
  const content = readFileSync(resolve(import.meta.dirname, '../..', path))
  return `data:${mediaType};base64,${content.subarray(0, bytes).toString('base64')}`
}
