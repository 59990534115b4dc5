// `npm run bench -- memory`: where the memory of each Worker goes at flava-full's geometry, read from the running Workers
// after the fullest inputs. Linear memory may take 96 MiB, everything together 112 of the isolate's 128 MB.
import { parseArgs } from 'node:util'
import { measureEncoders, measurePixels, VARIANTS, type MemoryRow } from './memory/measure.ts'

const MIB = 1024 * 1024

const { values: flags } = parseArgs({ options: { json: { type: 'boolean', default: false } } })

const rows: MemoryRow[] = []
for (const [variant, schemes] of Object.entries(VARIANTS)) {
  if (!flags.json) console.log(`${variant}: text ${schemes.text} and ${schemes.words}, image ${schemes.image}`)
  const measured = await measureEncoders(variant, schemes)
  rows.push(...measured.rows)
  for (const refusal of measured.refusals) console.error(`refused: ${refusal}`)
}
rows.push(await measurePixels())

if (flags.json) {
  for (const row of rows) console.log(JSON.stringify(row))
} else {
  console.table(rows.map(tableRow))
  console.log('MiB; free: left of the 96 that linear memory may take; total: linear memory and JavaScript, at most 112')
}

function tableRow({ worker, variant, wasmBytes, weightBytes, activationBytes, jsBytes }: MemoryRow) {
  const isEncoder = worker !== 'pixels'
  return {
    worker,
    variant,
    weights: inMib(weightBytes),
    activations: inMib(activationBytes),
    'linear memory': inMib(wasmBytes),
    free: isEncoder ? inMib(96 * MIB - wasmBytes) : '',
    javascript: inMib(jsBytes),
    total: inMib(wasmBytes + jsBytes),
  }
}

function inMib(bytes: number): string {
  return (bytes / MIB).toFixed(1)
}
