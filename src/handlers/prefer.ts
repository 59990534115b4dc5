// The Prefer header (RFC 7240) of routes that make a job: how long the caller would wait for the result itself.
// What cannot be read is ignored, as the RFC asks.

import { MAX_WAIT_MS } from '../jobs/worker-protocol.ts'

export interface Preference {
  waitMs: number
  /** What of it is honoured, for `Preference-Applied`; null when nothing was asked for. */
  applied: string | null
}

const MAX_WAIT_SECONDS = MAX_WAIT_MS / 1000

/** `wait=N` up to 25 seconds; more is cut to that. With `respond-async` alone, or nothing, there is no wait. */
export function parsePrefer(header: string | undefined): Preference {
  const preferences = (header ?? '')
    .split(',')
    .map((preference) => preference.split(';')[0]?.trim().toLowerCase() ?? '')
  const isAsync = preferences.includes('respond-async')
  const seconds = preferences.map((preference) => /^wait\s*=\s*"?(\d{1,9})"?$/.exec(preference)?.[1]).find(Boolean)
  const waitSeconds = seconds === undefined ? 0 : Math.min(MAX_WAIT_SECONDS, Number(seconds))
  const applied = [...(isAsync ? ['respond-async'] : []), ...(seconds === undefined ? [] : [`wait=${waitSeconds}`])]
  return { waitMs: waitSeconds * 1000, applied: applied.length === 0 ? null : applied.join(', ') }
}
