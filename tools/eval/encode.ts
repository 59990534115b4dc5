// The edge engine as a process: what gpu/flava_gpu/evaluation/encoders.py starts when a suite scores the quantized package. Reads a
// request file, writes f32 rows, little-endian, and prints their width and each item's number of rows.
import { readFile, writeFile } from 'node:fs/promises'
import { endianness } from 'node:os'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { encodeImagesAtEdge, encodeTextsAtEdge } from './edge-engine.ts'

const flagsSchema = z.strictObject({ model: z.string(), request: z.string(), vectors: z.string() })

const requestSchema = z.strictObject({
  kind: z.enum(['texts', 'images']),
  output: z.enum(['projected', 'cls', 'preNorm']),
  /** Texts, or paths of image files. */
  items: z.array(z.string()),
})

const options = { model: { type: 'string' }, request: { type: 'string' }, vectors: { type: 'string' } } as const
const flags = flagsSchema.parse({ ...parseArgs({ options }).values })
const { kind, output, items } = requestSchema.parse(JSON.parse(await readFile(flags.request, 'utf8')))
if (endianness() !== 'LE') throw new Error('vectors are little-endian, this machine is not')
const encodeAll = kind === 'texts' ? encodeTextsAtEdge : encodeImagesAtEdge
const encoded = await encodeAll(flags.model, items, output)
await writeFile(
  flags.vectors,
  Buffer.concat(encoded.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength))),
)
const width = encoded[0]?.shape.at(-1) ?? 1
console.log(JSON.stringify({ width, rows: encoded.map(({ shape }) => (shape.length === 1 ? 1 : shape[0])) }))
