// The edge engine as a process: what it writes is what the encoders give, in the request's order.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { embedWithEdge, encodeTextsAtEdge } from '../../../tools/eval/edge-engine.ts'

const MODEL = 'models/flava-emoji'
const TEXTS = ['red heart', 'a small dog in the rain', '']
const folder = mkdtempSync(join(tmpdir(), 'flava-encode-'))
afterAll(() => rmSync(folder, { recursive: true }))

function encode(request: object) {
  const [requestPath, vectors] = [join(folder, 'request.json'), join(folder, 'vectors.f32')]
  writeFileSync(requestPath, JSON.stringify(request))
  const flags = ['--model', MODEL, '--request', requestPath, '--vectors', vectors]
  const { status, stdout, stderr } = spawnSync(process.execPath, ['tools/eval/encode.ts', ...flags], {
    encoding: 'utf8',
  })
  if (status !== 0) return { status, stderr, told: null, values: new Float32Array() }
  const bytes = readFileSync(vectors)
  return { status, stderr, told: JSON.parse(stdout), values: new Float32Array(new Uint8Array(bytes).buffer) }
}

describe('tools/eval/encode.ts', () => {
  test('writes each text’s states one after the other and tells how many rows each has', async () => {
    const { told, values } = encode({ kind: 'texts', output: 'preNorm', items: TEXTS })
    const expected = await encodeTextsAtEdge(MODEL, TEXTS, 'preNorm')
    expect(told).toEqual({ width: 192, rows: expected.map(({ shape }) => shape[0]) })
    expect(values).toEqual(Float32Array.from(expected.flatMap(({ data }) => [...data])))
  })

  test('writes one row a picture', () => {
    const { told, values } = encode({ kind: 'images', output: 'cls', items: ['examples/cat.png', 'examples/cat.png'] })
    expect(told).toEqual({ width: 192, rows: [1, 1] })
    expect(values.subarray(0, 192)).toEqual(values.subarray(192))
  })

  test('refuses outputs that it does not know', () => {
    const { status, stderr } = encode({ kind: 'texts', output: 'layers', items: [] })
    expect(status).not.toBe(0)
    expect(stderr).toContain('output')
  })
})

describe('embedWithEdge', () => {
  test('gives vectors of length 1 to 1e-6 in the request’s order', async () => {
    const { texts, images } = await embedWithEdge(MODEL, { texts: TEXTS, images: ['examples/cat.png'] })
    expect([texts.length, images.length]).toEqual([3, 1])
    for (const vector of [...texts, ...images]) expect(Math.abs(Math.hypot(...vector) - 1)).toBeLessThan(1e-6)
    const [first] = (await embedWithEdge(MODEL, { texts: TEXTS.slice(0, 1), images: [] })).texts
    expect(texts[0]).toEqual(first)
  })
})
