// `npm run bench -- queue`: what the queue costs. Times from POST to lease and to result, jobs a second, leases under many waiting
// workers, a multimodal match through the queue beside the same computation called directly, memory under a long upload.
// `--only overhead,upload` leaves the others out.
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { machineLine } from './encoders/machine.ts'
import { toThreeDecimals } from './encoders/statistics.ts'
import { measureLatency, measureThroughput, measureWaiters } from './queue/broker.ts'
import { measureOverhead } from './queue/overhead.ts'
import type { QueueFigure } from './queue/figure.ts'
import { measureUpload } from './queue/upload.ts'

const PARTS = {
  latency: measureLatency,
  throughput: measureThroughput,
  waiters: measureWaiters,
  overhead: measureOverhead,
  upload: measureUpload,
} as const
const partSchema = z.enum(['latency', 'throughput', 'waiters', 'overhead', 'upload'])

const { values: flags } = parseArgs({
  options: { json: { type: 'boolean', default: false }, only: { type: 'string' } },
})
const parts = flags.only === undefined ? partSchema.options : z.array(partSchema).parse(flags.only.split(','))

// Clients, Workers and GPU workers share the machine's cores, as they would anywhere.
const machine = { ...machineLine('flava-emoji'), core: 'any' }
const { cpu, date, commit } = machine
console.log(flags.json ? JSON.stringify(machine) : `${cpu}, ${availableParallelism()} cores, ${date}, commit ${commit}`)
for (const part of parts) {
  for (const figure of await PARTS[part]()) print(figure)
}

function print({ metric, values }: QueueFigure): void {
  const rounded = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, toThreeDecimals(value)]))
  if (flags.json) console.log(JSON.stringify({ bench: 'queue', metric, ...rounded }))
  else {
    const facts = Object.entries(rounded).map(([name, value]) => `${name} ${value}`)
    console.log(`${metric.padEnd(24)} ${facts.join(' · ')}`)
  }
}
