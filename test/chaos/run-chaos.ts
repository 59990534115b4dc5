// One chaos run: many mixed jobs through the real service and real GPU workers that are killed at random, then an account of
// what became of every single job.

import { setTimeout as wait } from 'node:timers/promises'
import { isTerminal, JOB_STATES, type JobState } from '../../src/jobs/states.ts'
import { BATCH_LINE_IDS, planJobs, type PlannedJob } from './mixed-jobs.ts'
import { createRandom, type Random } from './random.ts'
import { startWorkerCrew, type WorkerCrew } from './worker-crew.ts'

export interface ChaosService {
  /** Where it listens; the same after a restart. */
  readonly url: string
  /** Ends the gateway and its broker without a word, and starts them again on what they had written down. */
  restart(): Promise<void>
}

export interface ChaosOptions {
  jobs: number
  workers: number
  seed: number
  /** Of the run as a whole; what is not terminal by then is counted as lost. */
  limitMs: number
  /** Between two kills, at least and at most. */
  killEveryMs: readonly [number, number]
  restarts: number
  onProgress?: (done: number, total: number) => void
}

export interface ChaosTally {
  jobs: number
  terminal: number
  /** Accepted, and not ended or not to be found at the end. */
  lost: number
  /** Ended more than once. */
  double: number
  kills: number
  restarts: number
  byState: Partial<Record<JobState, number>>
  /** Jobs that ended otherwise than planned: poison that succeeded, good ones that failed. */
  wrong: string[]
}

interface SubmittedJob extends PlannedJob {
  id: string
}

const SUBMITTERS = 8
const POLL_MS = 250
const LEASE_SECONDS = 4

export async function runChaos(service: ChaosService, options: ChaosOptions): Promise<ChaosTally> {
  const random = createRandom(options.seed)
  const planned = planJobs(options.jobs, random)
  const deadline = Date.now() + options.limitMs
  const token = await mintToken(service)
  const crew = startWorkerCrew({ url: service.url, token, size: options.workers, leaseSeconds: LEASE_SECONDS })
  const over = new AbortController()
  const trouble = makeTrouble(service, crew, random, options, over.signal)
  try {
    const submitted = await submitAll(service, planned)
    await waitForAll(service, submitted, deadline, options.onProgress)
    over.abort()
    const { kills, restarts } = await trouble
    return { ...(await account(service, submitted)), kills, restarts }
  } catch (error) {
    throw new Error(`chaos seed ${options.seed}: ${crew.output.slice(-40).join('\n')}`, { cause: error })
  } finally {
    over.abort()
    await trouble
    await crew.stop()
  }
}

/** Kills and restarts until it is told that the run is over. */
async function makeTrouble(
  service: ChaosService,
  crew: WorkerCrew,
  random: Random,
  { workers, killEveryMs: [least, most], restarts: wantedRestarts }: ChaosOptions,
  over: AbortSignal,
): Promise<{ kills: number; restarts: number }> {
  let [kills, restarts] = [0, 0]
  while (!over.aborted) {
    const pauseMs = least + random.next() * (most - least)
    if (await isOverWithin(pauseMs, over)) break
    const slot = Math.floor(random.next() * workers)
    // Every fourth is asked to go, as at a deployment, and hands back what it holds.
    if (random.next() < 0.25) crew.drain(slot)
    else crew.kill(slot)
    kills += 1
    if (restarts < wantedRestarts && kills % 2 === 0) {
      await service.restart()
      restarts += 1
    }
  }
  return { kills, restarts }
}

async function isOverWithin(ms: number, over: AbortSignal): Promise<boolean> {
  await wait(ms, undefined, { signal: over }).catch(() => undefined)
  return over.aborted
}

async function submitAll(service: ChaosService, planned: readonly PlannedJob[]): Promise<SubmittedJob[]> {
  const submitted: SubmittedJob[] = []
  // One iterator shared by all: each takes the next job when it has sent its last.
  const waiting = planned.entries()
  const submitInTurn = async (): Promise<void> => {
    for (const [index, job] of waiting) {
      const id = await submit(service, job, index)
      submitted.push({ ...job, id })
      if (job.isCancelled) await post(service, `/v1/jobs/${id}/cancel`, {}).catch(() => undefined)
    }
  }
  await Promise.all(Array.from({ length: SUBMITTERS }, submitInTurn))
  return submitted
}

async function submit(service: ChaosService, job: PlannedJob, index: number): Promise<string> {
  const body = { ...job.body }
  if (job.file !== undefined) body[job.file.field] = await upload(service, job.file)
  // With its key a POST that was broken off by a restart can be sent again without making a second job.
  const answer = await post(service, job.path, body, { prefer: 'respond-async', 'idempotency-key': `chaos-${index}` })
  return String(answer.id)
}

async function upload(service: ChaosService, file: NonNullable<PlannedJob['file']>): Promise<string> {
  const answer = await untilAnswered(service, '/v1/files', () => {
    const form = new FormData()
    form.set('purpose', file.purpose)
    form.set('file', new Blob([file.content]), 'rows.jsonl')
    return { method: 'POST', body: form }
  })
  return String(answer.id)
}

async function waitForAll(
  service: ChaosService,
  submitted: readonly SubmittedJob[],
  deadline: number,
  onProgress: ChaosOptions['onProgress'],
): Promise<void> {
  const open = new Set(submitted.map(({ id }) => id))
  while (open.size > 0 && Date.now() < deadline) {
    for (const id of [...open].slice(0, 64)) {
      if (isTerminal((await readJob(service, id)).state)) open.delete(id)
    }
    onProgress?.(submitted.length - open.size, submitted.length)
    if (open.size > 0) await wait(POLL_MS)
  }
}

async function account(
  service: ChaosService,
  submitted: readonly SubmittedJob[],
): Promise<Omit<ChaosTally, 'kills' | 'restarts'>> {
  const tally = { jobs: submitted.length, terminal: 0, lost: 0, double: 0, byState: {}, wrong: [] as string[] }
  const byState: Partial<Record<JobState, number>> = tally.byState
  for (const job of submitted) {
    const record = await readJob(service, job.id)
    const { state } = record
    byState[state] = (byState[state] ?? 0) + 1
    if (!isTerminal(state)) {
      tally.lost += 1
      continue
    }
    tally.terminal += 1
    const ends = await countEnds(service, job.id)
    if (ends > 1) tally.double += 1
    if (ends === 0) tally.lost += 1
    const isPlanned = allowedEnds(job).includes(state) || isWornOut(record)
    const fault = isPlanned ? await faultOf(service, job, state) : state
    if (fault !== null) tally.wrong.push(`${job.kind} ${job.id}: ${fault}`)
  }
  return tally
}

/** How often the job's own history says that it ended. */
async function countEnds(service: ChaosService, id: string): Promise<number> {
  const response = await fetch(new URL(`/v1/jobs/${id}/events`, service.url))
  const states = [...(await response.text()).matchAll(/^event: state\ndata: (.*)$/gm)].map(
    ([, data = '']) => readState(JSON.parse(data)).state,
  )
  return states.filter(isTerminal).length
}

/** Killed at random often enough: every attempt was lost with its worker, none by the job's own fault. */
function isWornOut({ state, attempts, maxAttempts, errorCode }: ReadJob): boolean {
  return state === 'dead' && errorCode === 'lease_expired' && attempts >= maxAttempts
}

/** What is wrong with what a job left that says it has succeeded; null when nothing is. */
async function faultOf(service: ChaosService, { kind, id }: SubmittedJob, state: JobState): Promise<string | null> {
  if (state !== 'succeeded') return null
  if (kind === 'batch') return faultOfBatch(service, id)
  return kind === 'fine-tuning' ? faultOfModel(service, id) : null
}

/** Each line is answered once, whoever was killed on the way. */
async function faultOfBatch(service: ChaosService, id: string): Promise<string | null> {
  const { output_file_id: file } = await untilAnswered(service, `/v1/batches/${id}`, () => ({}))
  if (typeof file !== 'string') return 'succeeded without an output file'
  const response = await fetch(new URL(`/v1/files/${file}/content`, service.url))
  if (!response.ok) return `output file: ${response.status}`
  const lines = (await response.text()).trimEnd().split('\n')
  const told = lines.map((line) => readCustomId(JSON.parse(line)))
  const distinct = new Set(told)
  const isWhole = BATCH_LINE_IDS.every((wanted) => distinct.has(wanted)) && distinct.size === BATCH_LINE_IDS.length
  return isWhole && told.length === distinct.size ? null : `${told.length} lines, ${distinct.size} distinct`
}

async function faultOfModel(service: ChaosService, id: string): Promise<string | null> {
  const { fine_tuned_model: model } = await untilAnswered(service, `/v1/fine_tuning/jobs/${id}`, () => ({}))
  if (typeof model !== 'string') return 'succeeded without a model'
  const response = await fetch(new URL(`/v1/models/${encodeURIComponent(model)}`, service.url))
  return response.ok ? null : `model ${model}: ${response.status}`
}

function readCustomId(value: { custom_id?: unknown }): string {
  return String(value.custom_id)
}

function allowedEnds({ kind, isCancelled }: PlannedJob): JobState[] {
  const end: JobState = kind === 'poison' ? 'failed' : 'succeeded'
  return isCancelled ? [end, 'cancelled'] : [end]
}

async function mintToken(service: ChaosService): Promise<string> {
  return String((await post(service, '/v1/worker_tokens', { name: 'chaos' })).token)
}

interface ReadJob {
  state: JobState
  attempts: number
  maxAttempts: number
  errorCode: string | null
}

async function readJob(service: ChaosService, id: string): Promise<ReadJob> {
  const answer = await untilAnswered(service, `/v1/jobs/${id}`, () => ({}))
  const { error, attempts, max_attempts: maxAttempts } = answer
  const hasCode = typeof error === 'object' && error !== null && 'code' in error
  return {
    ...readState(answer),
    attempts: Number(attempts),
    maxAttempts: Number(maxAttempts),
    errorCode: hasCode ? String(error.code) : null,
  }
}

function readState(value: { state?: unknown; status?: unknown }): { state: JobState } {
  const state = JOB_STATES.find((known) => known === (value.state ?? value.status))
  if (state === undefined) throw new Error(`no job state in ${JSON.stringify(value)}`)
  return { state }
}

function post(
  service: ChaosService,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  return untilAnswered(service, path, () => ({
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  }))
}

/** Sends again while the service is restarting, as any client would; a refusal is an error of the run. */
async function untilAnswered(
  service: ChaosService,
  path: string,
  init: () => RequestInit,
): Promise<Record<string, unknown>> {
  for (;;) {
    const response = await fetch(new URL(path, service.url), init()).catch(() => undefined)
    if (response?.ok === true) {
      const answer: Record<string, unknown> = await response.json()
      return answer
    }
    const isPassing = response === undefined || response.status >= 500 || response.headers.has('retry-after')
    if (!isPassing) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    await wait(POLL_MS)
  }
}
