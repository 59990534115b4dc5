// What a package has to reach before it is published, held against what was measured.
import { z } from 'zod'
import type { EncoderMeasurement } from './measure-encoders.ts'
import type { RetrievalCost } from './retrieval-parity.ts'
import { limitsOf } from './variants.ts'

export const gateSchema = z.object({
  name: z.string(),
  rule: z.enum(['at least', 'at most']),
  limit: z.number(),
  measured: z.number(),
  isPassed: z.boolean(),
})

export type Gate = z.infer<typeof gateSchema>

/** A gate on fewer inputs would say little about the 1st percentile. */
const MIN_INPUTS = 200

export interface Measured {
  variant: string
  text: EncoderMeasurement
  image: EncoderMeasurement
  /** R@1 of fp32 less R@1 of the package on the dev split; empty without retrieval data. */
  retrievalCosts: readonly RetrievalCost[]
}

export function checkGates({ variant, text, image, retrievalCosts }: Measured): Gate[] {
  const { meanCosine, p1Cosine, retrievalPoints } = limitsOf(variant)
  const ofEncoder = (name: string, { all, distinctCount, areBuildsEqual }: EncoderMeasurement): Gate[] => [
    atLeast(`${name}: distinct inputs`, MIN_INPUTS, distinctCount),
    atLeast(`${name}: mean cosine`, meanCosine, all.mean),
    ...(p1Cosine === null ? [] : [atLeast(`${name}: 1st percentile of cosine`, p1Cosine, all.p1)]),
    atLeast(`${name}: kernel builds that agree`, 2, areBuildsEqual ? 2 : 1),
  ]
  return [
    ...ofEncoder('text', text),
    ...ofEncoder('image', image),
    ...retrievalCosts.map(({ split, direction, points }) =>
      atMost(`retrieval: points of R@1 lost on ${split}, ${direction}`, retrievalPoints, points),
    ),
  ]
}

/** For a person: what failed and by how much. */
export function describeGate({ name, rule, limit, measured }: Gate): string {
  return `${name}: expected ${rule} ${limit}, got ${measured}`
}

function atLeast(name: string, limit: number, measured: number): Gate {
  return { name, rule: 'at least', limit, measured, isPassed: measured >= limit }
}

function atMost(name: string, limit: number, measured: number): Gate {
  return { name, rule: 'at most', limit, measured, isPassed: measured <= limit }
}
