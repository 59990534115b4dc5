// The history of each job, numbered from 1. A progress line supersedes the one before it, so that days of training stay
// small; numbers only grow, so that a reader who saw one never misses the next.

import { InvalidInputError } from '../../errors.ts'
import type { JobEvent } from '../../jobs/job.ts'
import type { Page, Paged } from '../../jobs/ports.ts'
import type { JobState } from '../../jobs/states.ts'
import { firstRow, readJson, rows, run, type BrokerStore } from './store.ts'

/** Beyond it a job's log lines and metrics are no longer kept; its states always are. */
const MAX_EVENTS = 100_000

const ID_PREFIX = 'evt_'
/** Of the job's random digits, and of the number within the job. */
const [JOB_DIGITS, SEQUENCE_DIGITS] = [16, 8]

type EventRow = { sequence: number; at_ms: number; data: string }

export function addEvent(store: BrokerStore, job: string, data: JobEvent['data']): void {
  const { last } = firstRow<{ last: number | null }>(
    store,
    'SELECT max(sequence) last FROM events WHERE job = ?',
    job,
  ) ?? {
    last: 0,
  }
  const sequence = (last ?? 0) + 1
  if (sequence > MAX_EVENTS && (data.type === 'log' || data.type === 'metrics')) return
  run(
    store,
    'INSERT INTO events (job, sequence, at_ms, type, data) VALUES (?, ?, ?, ?, ?)',
    job,
    sequence,
    store.now(),
    data.type,
    JSON.stringify(data),
  )
  if (data.type === 'progress') {
    run(store, `DELETE FROM events WHERE job = ? AND type = 'progress' AND sequence < ?`, job, sequence)
  }
  store.announce(job)
}

export function addStateEvent(store: BrokerStore, job: string, state: JobState, message: string): void {
  addEvent(store, job, { type: 'state', state, message })
}

export function eventsAfter(store: BrokerStore, job: string, sequence: number, limit: number): JobEvent[] {
  return rows<EventRow>(
    store,
    'SELECT sequence, at_ms, data FROM events WHERE job = ? AND sequence > ? ORDER BY sequence LIMIT ?',
    job,
    sequence,
    limit,
  ).map((row) => toEvent(job, row))
}

/** @throws InvalidInputError when `after` is no event of this job */
export function pageOfEvents(store: BrokerStore, job: string, { after, limit, order }: Page): Paged<JobEvent> {
  const start = after === undefined ? undefined : sequenceOf(job, after)
  const found = rows<EventRow>(
    store,
    order === 'asc'
      ? 'SELECT sequence, at_ms, data FROM events WHERE job = ? AND sequence > ? ORDER BY sequence LIMIT ?'
      : 'SELECT sequence, at_ms, data FROM events WHERE job = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?',
    job,
    start ?? (order === 'asc' ? 0 : Number.MAX_SAFE_INTEGER),
    limit + 1,
  )
  return { data: found.slice(0, limit).map((row) => toEvent(job, row)), hasMore: found.length > limit }
}

function toEvent(job: string, { sequence, at_ms, data }: EventRow): JobEvent {
  return { id: eventId(job, sequence), sequence, atMs: at_ms, data: readJson(data) }
}

/** An event is found again by its id without an index of ids: it holds the job's random digits and its number. */
function eventId(job: string, sequence: number): string {
  return ID_PREFIX + digitsOf(job) + sequence.toString(16).padStart(SEQUENCE_DIGITS, '0')
}

function sequenceOf(job: string, id: string): number {
  const prefix = ID_PREFIX + digitsOf(job)
  const digits = id.slice(prefix.length)
  if (id.startsWith(prefix) && /^[0-9a-f]{8}$/.test(digits)) return Number.parseInt(digits, 16)
  throw new InvalidInputError('after: expected the id of an event of this job', { param: 'after' })
}

function digitsOf(job: string): string {
  return job.slice(-24).slice(0, JOB_DIGITS)
}
