// A job's states and the moves between them, as a value. Knows neither where jobs are kept nor who moves them: the broker's
// SQL asks here which states a move may start from, so that no statement can invent a move of its own.

export const JOB_STATES = [
  // Written down by the broker; its Queue message is not seen yet.
  'stored',
  // Ready for the next worker that can do it, from its `notBefore` on.
  'queued',
  // A worker holds the lease.
  'running',
  // Set aside on request; only `resume` brings it back.
  'paused',
  'succeeded',
  // Refused by the worker for a reason that another attempt would not change, or out of time.
  'failed',
  // Every attempt was used up; the last error is kept.
  'dead',
  'cancelled',
  // Its deadline passed before it had ended.
  'expired',
] as const
export type JobState = (typeof JOB_STATES)[number]

export const JOB_MOVES = [
  'enqueue',
  'lease',
  'complete',
  // An attempt ended without a result and another one may follow.
  'release',
  'exhaust',
  'fail',
  'cancel',
  'pause',
  'resume',
  'expire',
  // A person asks for an ended job to be done again.
  'retry',
] as const
export type JobMove = (typeof JOB_MOVES)[number]

const WAITING = ['stored', 'queued'] as const
const OPEN = ['stored', 'queued', 'running', 'paused'] as const

/** Where each move may start, and where it ends. */
const MOVES: Record<JobMove, { from: readonly JobState[]; to: JobState }> = {
  enqueue: { from: ['stored'], to: 'queued' },
  lease: { from: ['queued'], to: 'running' },
  complete: { from: ['running'], to: 'succeeded' },
  release: { from: ['running'], to: 'queued' },
  exhaust: { from: ['running'], to: 'dead' },
  fail: { from: ['running'], to: 'failed' },
  cancel: { from: OPEN, to: 'cancelled' },
  pause: { from: [...WAITING, 'running'], to: 'paused' },
  resume: { from: ['paused'], to: 'queued' },
  expire: { from: OPEN, to: 'expired' },
  retry: { from: ['failed', 'dead', 'cancelled', 'expired'], to: 'queued' },
}

const TERMINAL: readonly JobState[] = ['succeeded', 'failed', 'dead', 'cancelled', 'expired']

/** The state after `move`, or undefined where it is not legal. */
export function stateAfter(state: JobState, move: JobMove): JobState | undefined {
  const { from, to } = MOVES[move]
  return from.includes(state) ? to : undefined
}

/** The states that `move` may start from. */
export function sourcesOf(move: JobMove): readonly JobState[] {
  return MOVES[move].from
}

/** The state that `move` ends in. */
export function targetOf(move: JobMove): JobState {
  return MOVES[move].to
}

/** A terminal job moves no more by itself; `retry` alone brings it back. */
export function isTerminal(state: JobState): boolean {
  return TERMINAL.includes(state)
}
