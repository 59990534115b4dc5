// The queue's own cost for a multimodal match: the real service with a real worker on this CPU, beside the same computation
// called directly in Python, turn and turn about. Scores are compared before anything is timed.

import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import { z } from 'zod'
import { mintWorkerToken } from '../../test/fake-worker.ts'
import { startWorkers } from '../../test/harness.ts'
import { ensurePythonEnv, PYTHON_ENV, VENV_PYTHON } from '../../tools/python-env.ts'
import { timesFigure, type QueueFigure } from './figure.ts'

const ROUNDS = 100
const WARM_UP_ROUNDS = 20
const MAX_DIFFERENCE = 1e-6
const PICTURE = readFileSync('examples/cat.png').toString('base64')
const MATCH = JSON.stringify({ model: 'flava-emoji', pairs: [{ image: PICTURE, text: 'a cat' }] })

const directSchema = z.object({ ms: z.number(), score: z.number() })
const answerSchema = z.object({ data: z.array(z.object({ score: z.number() })).length(1) })

export async function measureOverhead(): Promise<QueueFigure[]> {
  await ensurePythonEnv()
  const workers = await startWorkers()
  const token = await mintWorkerToken((path, init) => workers.fetch(path, init))
  const worker = startPython(['-m', 'flava_gpu.worker', '--url', workers.url.href, '--threads', '1'], {
    FLAVA_WORKER_TOKEN: token,
  })
  const direct = startPython(['bench/queue/direct_match.py'])
  try {
    return await timeInTurns(workers.url, createInterface({ input: direct.stdout ?? process.stdin }), direct)
  } finally {
    worker.kill('SIGKILL')
    direct.kill('SIGKILL')
    await workers.stop()
  }
}

async function timeInTurns(url: URL, lines: Interface, direct: ChildProcess): Promise<QueueFigure[]> {
  const answers = lines[Symbol.asyncIterator]()
  const callDirect = async () => {
    direct.stdin?.write(`${MATCH}\n`)
    const { value } = await answers.next()
    return directSchema.parse(JSON.parse(String(value)))
  }
  const [queued, called, overhead]: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1) {
    const { ms, score } = await callDirect()
    const startedAt = performance.now()
    const throughQueue = await postMatch(url)
    const queuedMs = performance.now() - startedAt
    if (Math.abs(throughQueue - score) > MAX_DIFFERENCE) {
      throw new Error(`match: expected ${score}, as computed directly, got ${throughQueue}`)
    }
    if (round < WARM_UP_ROUNDS) continue
    queued.push(queuedMs)
    called.push(ms)
    overhead.push(queuedMs - ms)
  }
  return [timesFigure('match', queued), timesFigure('match_direct', called), timesFigure('overhead', overhead)]
}

/** Waits for the worker to come up, the first time: it is asked again until there is an answer. */
async function postMatch(url: URL): Promise<number> {
  for (;;) {
    const response = await fetch(new URL('/v1/multimodal/match', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', prefer: 'wait=25' },
      body: MATCH,
    })
    if (response.status === 202) continue
    if (!response.ok) throw new Error(`match: ${response.status} ${await response.text()}`)
    const [match] = answerSchema.parse(await response.json()).data
    return match?.score ?? Number.NaN
  }
}

function startPython(args: string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(VENV_PYTHON, args, {
    env: { ...process.env, ...PYTHON_ENV, ...env },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
}
