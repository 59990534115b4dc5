// How near two sets of vectors are: cosines, and the figures of them that a parity report gives.
import { z } from 'zod'

export const cosineSummarySchema = z.object({
  count: z.int().positive(),
  mean: z.number(),
  /** The cosine that 1 % of the items stay below. */
  p1: z.number(),
  min: z.number(),
})

export type CosineSummary = z.infer<typeof cosineSummarySchema>

/** Cosine of two f32 vectors of one length, in f64. */
export function cosine(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`cosine: expected equal lengths, got ${a.length} and ${b.length}`)
  let [dot, aSquared, bSquared] = [0, 0, 0]
  a.forEach((value, index) => {
    const other = b[index] ?? Number.NaN
    dot += value * other
    aSquared += value * value
    bSquared += other * other
  })
  return dot / Math.sqrt(aSquared * bSquared)
}

/** Pairwise cosines of two equally long lists of vectors. */
export function pairwiseCosines(ours: readonly Float32Array[], theirs: readonly Float32Array[]): number[] {
  if (ours.length !== theirs.length) throw new Error(`expected ${theirs.length} vectors, got ${ours.length}`)
  return ours.map((vector, index) => cosine(vector, theirs[index] ?? new Float32Array(vector.length)))
}

/** @throws when there is nothing to summarize or a cosine is not a number: neither may pass for parity */
export function summarizeCosines(cosines: readonly number[]): CosineSummary {
  if (cosines.length === 0 || cosines.some(Number.isNaN)) throw new Error('cosines: expected numbers, got none or NaN')
  const sorted = cosines.toSorted((a, b) => a - b)
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length
  const p1 = sorted[Math.floor(sorted.length / 100)] ?? mean
  return { count: sorted.length, mean: round(mean), p1: round(p1), min: round(sorted[0] ?? mean) }
}

/** Whether two lists of vectors hold the same bits. */
export function areBitEqual(ours: readonly Float32Array[], theirs: readonly Float32Array[]): boolean {
  return (
    ours.length === theirs.length &&
    ours.every((vector, index) => {
      const other = theirs[index]
      return other !== undefined && Buffer.compare(bytesOf(vector), bytesOf(other)) === 0
    })
  )
}

function bytesOf(vector: Float32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)
}

/** Down to six decimals: a report must not round a failure up to the gate. */
function round(value: number): number {
  return Math.floor(value * 1e6) / 1e6
}
