// Times contestants against each other: each runs once a round, in a turning order, so that a slow moment of the machine and
// the state a predecessor leaves the caches in meet all of them alike.
import type { Contestant } from './contestant.ts'
import type { EncoderInput } from './inputs.ts'

/** V8 compiles hot WASM a second time in the background: so many passes or so long, and at least twice, go uncounted. */
const WARM_UP_PASSES = 10
const WARM_UP_MS = 1500
const MIN_WARM_UP_PASSES = 2

/** Milliseconds per contestant and round, in the contestants' order. */
export async function timeRounds(
  contestants: readonly Contestant[],
  input: EncoderInput,
  rounds: number,
): Promise<number[][]> {
  for (const contestant of contestants) await warmUp(contestant, input)
  const timesMs = contestants.map((): number[] => [])
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < contestants.length; turn += 1) {
      const index = (round + turn) % contestants.length
      const elapsedMs = await contestants[index]?.time(input)
      if (elapsedMs !== undefined) timesMs[index]?.push(elapsedMs)
    }
  }
  return timesMs
}

async function warmUp({ time }: Contestant, input: EncoderInput): Promise<void> {
  let spentMs = 0
  for (let pass = 0; pass < WARM_UP_PASSES; pass += 1) {
    if (pass >= MIN_WARM_UP_PASSES && spentMs >= WARM_UP_MS) return
    spentMs += await time(input)
  }
}
