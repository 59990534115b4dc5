// Scores as rows: the JSON line that other programs read, and the table that a person reads. Knows nothing of how they came about.
import type { EngineName } from './engine.ts'
import { wilsonInterval, type Recalls } from './ranks.ts'
import type { Direction } from './score-splits.ts'
import type { RetrievalSplit, SplitName } from './splits.ts'

/** What stands beside the engines without being a model: guessing, and nearest training pictures by pixels. */
export type FloorName = 'chance' | 'pixels' | 'pixels-trimmed'

export interface ScoreRow extends Recalls {
  suite: 'retrieval'
  split: SplitName
  engine: EngineName | FloorName
  direction: Direction
}

/** Points of R@1 that quantization may cost are the package variant's; 0.5 are 7 of this split's 1,402 queries. */
const GATED_SPLIT: SplitName = 'A'

export interface QuantizationCost {
  split: SplitName
  direction: Direction
  /** R@1 of fp32 less R@1 of the edge engine; negative when the edge engine is ahead. */
  points: number
  /** Small splits are shown and not gated: one query of split C is 0.63 points. */
  isGated: boolean
}

/** One object a line with exactly these keys, percentages to two decimals. */
export function formatJsonLine({ suite, split, engine, direction, r1, r5, r10, n }: ScoreRow): string {
  return JSON.stringify({ suite, split, engine, direction, r1, r5, r10, n })
}

export function quantizationCosts(rows: readonly ScoreRow[]): QuantizationCost[] {
  return rows
    .filter(({ engine }) => engine === 'torch')
    .flatMap(({ split, direction, r1 }) => {
      const edge = rows.find((row) => row.engine === 'edge' && row.split === split && row.direction === direction)
      if (edge === undefined) return []
      return { split, direction, points: Math.round((r1 - edge.r1) * 100) / 100, isGated: split === GATED_SPLIT }
    })
}

export function isWithinGate(costs: readonly QuantizationCost[], gatePoints: number): boolean {
  return costs.every(({ points, isGated }) => !isGated || points <= gatePoints)
}

/** A block per split and direction; 95 % confidence intervals in brackets for engines and pixel floors. */
export function formatTable(splits: readonly RetrievalSplit[], rows: readonly ScoreRow[]): string {
  const lines = splits.flatMap((split) => {
    const ofSplit = rows.filter((row) => row.split === split.name)
    const pool = `${split.names.size} names, ${split.galleries.map(({ style }) => style).join(', ')}`
    const header = ['direction'.padEnd(10), 'engine'.padEnd(16), ...['R@1', 'R@5', 'R@10'].map(centre), 'n'].join('')
    return ['', `${split.name}: ${split.about} (${pool})`, header, ...ofSplit.map(formatRow)]
  })
  return lines.join('\n')
}

export function formatCosts(costs: readonly QuantizationCost[], gatePoints: number): string {
  if (costs.length === 0) return 'quantization cost: needs both engines (--engine both)'
  const lines = costs.map(({ split, direction, points, isGated }) => {
    const verdict = points <= gatePoints ? 'within' : 'ABOVE'
    const gate = isGated ? `${verdict} the gate of ${gatePoints}` : 'not gated'
    return `  ${split.padEnd(6)}${direction}  ${points.toFixed(2).padStart(6)} points of R@1, ${gate}`
  })
  return ['quantization cost, fp32 less edge:', ...lines].join('\n')
}

function formatRow({ direction, engine, n, ...recalls }: ScoreRow): string {
  const cells = [recalls.r1, recalls.r5, recalls.r10].map((percent) => {
    if (engine === 'chance') return centre(percent.toFixed(2))
    const [low, high] = wilsonInterval(percent, n)
    return centre(`${percent.toFixed(1)} [${low.toFixed(1)}, ${high.toFixed(1)}]`)
  })
  return [direction.padEnd(10), engine.padEnd(16), ...cells, n].join('')
}

function centre(text: string): string {
  return text.padStart(11 + Math.floor(text.length / 2)).padEnd(22)
}
