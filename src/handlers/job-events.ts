// GET /v1/jobs/{id}/events: a job's history as server-sent events, from the beginning or after `Last-Event-ID`, then live
// until the job has ended. https://html.spec.whatwg.org/multipage/server-sent-events.html

import { streamSSE, type SSEStreamingApi } from 'hono/streaming'
import { InvalidInputError } from '../errors.ts'
import type { JobEvent } from '../jobs/job.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext } from './context.ts'
import { toJob } from './job-format.ts'
import { toSeconds } from './unix-seconds.ts'

const EVENTS_A_CALL = 256
/** A waiter of the broker is held for so long: the most that a client which has left costs it. */
const WAIT_MS = 10_000
/** A Worker may make a limited number of calls for one request; the client connects again and goes on where it was. */
const MAX_CALLS = 4_000
const RECONNECT_MS = 2_000

/** @throws ResourceNotFoundError, InvalidInputError for a Last-Event-ID that is not one of ours */
export async function streamJobEvents(c: AppContext, { broker, log }: JobDependencies): Promise<Response> {
  const { project, facts, requestId, signal } = c.var
  const id = c.req.param('job') ?? ''
  const begin = parseLastEventId(c.req.header('last-event-id'))
  facts.job = (await broker.get(project, id)).id
  // Proxies that buffer whole answers would hold events back.
  c.header('x-accel-buffering', 'no')
  return streamSSE(
    c,
    async (stream) => {
      let sequence = begin
      await stream.write(`retry: ${RECONNECT_MS}\n\n`)
      for (let calls = 0; calls < MAX_CALLS && !hasLeft(stream, signal); calls++) {
        const options = { limit: EVENTS_A_CALL, waitMs: WAIT_MS }
        const { events, isOver } = await broker.eventsAfter(project, id, sequence, options)
        for (const event of events) await stream.writeSSE(toMessage(id, event))
        sequence = events.at(-1)?.sequence ?? sequence
        if (isOver && events.length < EVENTS_A_CALL) {
          await stream.writeSSE({ event: 'end', data: JSON.stringify(toJob(await broker.get(project, id))) })
          return
        }
        if (events.length === 0) await stream.write(': still waiting\n\n')
      }
    },
    async (error) => {
      // The client sees its stream break off, and connects again.
      if (!signal.aborted) log(JSON.stringify({ event: 'stream_broken', id: requestId, job: id, error: error.message }))
    },
  )
}

function hasLeft(stream: SSEStreamingApi, signal: AbortSignal): boolean {
  return stream.aborted || stream.closed || signal.aborted
}

/** @returns 0 when there is none, which is before the first event */
function parseLastEventId(header: string | undefined): number {
  if (header === undefined || header === '') return 0
  if (/^\d{1,15}$/.test(header)) return Number(header)
  throw new InvalidInputError('Last-Event-ID: expected the id of an event of this stream, a whole number', {
    param: 'Last-Event-ID',
  })
}

function toMessage(job: string, { id, sequence, atMs, data }: JobEvent): { id: string; event: string; data: string } {
  const { type, ...facts } = data
  const body = { id, object: 'job.event', job, created_at: toSeconds(atMs), type, ...facts }
  return { id: String(sequence), event: type, data: JSON.stringify(body) }
}
