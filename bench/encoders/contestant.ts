// One engine with one model in one runtime, as the rounds see it.
import type { EncoderInput } from './inputs.ts'

export type Engine = 'flava-edge' | 'onnxruntime-web' | 'onnxruntime-node'

/**
 * `hidden`: all tokens after the last LayerNorm, which is what the rivals' graphs compute, so the work is equal.
 * `projected`: the retrieval vector, which is what the service computes; the last block then runs for token 0 only.
 */
export type Work = 'hidden' | 'projected'

export interface Contestant {
  engine: Engine
  variant: string
  runtime: 'node' | 'workerd'
  work: Work
  /** The output of one pass, for the check before anything is timed. */
  encode: (input: EncoderInput) => Promise<Float32Array>
  /** Milliseconds of one pass. */
  time: (input: EncoderInput) => Promise<number>
}

export function describeContestant({ engine, variant, runtime, work }: Contestant): string {
  return `${engine} ${variant} ${work} in ${runtime}`
}
