// `npm run test:chaos`: 1,000 mixed jobs over 3 workers with random kills. Its last line is the tally.

import { parseArgs } from 'node:util'
import { SingleBar } from 'cli-progress'
import { buildWasm } from '../../tools/build-wasm.ts'
import { ensurePythonEnv } from '../../tools/python-env.ts'
import { runChaos } from './run-chaos.ts'
import { startChaosService } from './service.ts'

const LIMIT_MS = 290_000

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000' },
    workers: { type: 'string', default: '3' },
    seed: { type: 'string', default: '0' },
  },
})

await ensurePythonEnv()
await buildWasm()
const service = await startChaosService()
const bar = new SingleBar({ format: 'jobs ended {bar} {value}/{total} · {duration_formatted}' })
try {
  const jobs = Number(values.jobs)
  bar.start(jobs, 0)
  const tally = await runChaos(service, {
    jobs,
    workers: Number(values.workers),
    seed: Number(values.seed),
    limitMs: LIMIT_MS,
    killEveryMs: [2_000, 5_000],
    restarts: 3,
    onProgress: (done) => bar.update(done),
  })
  bar.stop()
  for (const line of tally.wrong) console.log(`not as planned: ${line}`)
  console.log(`states: ${JSON.stringify(tally.byState)} restarts=${tally.restarts} seed=${values.seed}`)
  const { terminal, lost, double, kills, wrong } = tally
  console.log(`chaos: jobs=${tally.jobs} terminal=${terminal} lost=${lost} double=${double} kills=${kills}`)
  if (lost + double + wrong.length > 0 || terminal !== jobs) process.exitCode = 1
} finally {
  bar.stop()
  await service.stop()
}
