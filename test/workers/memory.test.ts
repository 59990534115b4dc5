// The memory of every Worker at flava-full's geometry, in workerd: real loads from R2, full-length inputs, and what the
// isolates then hold. Local workerd enforces no limit, so these tests do.

import { expect, test } from 'vitest'
import { measureEncoders, measurePixels, VARIANTS, type MemoryRow } from '../../bench/memory/measure.ts'
import type { FullSchemes } from '../flava/full-package.ts'

const MIB = 1024 * 1024
/** The maximum of an encoder's linear memory. */
const MAX_WASM_BYTES = 96 * MIB
const MAX_TEXT_WEIGHT_BYTES = 92 * MIB
/** 4.5 bits a weight of 85 million, 6 of 23 million words, scales, positions. */
const MAX_SMALL_WEIGHT_BYTES = 70 * MIB
/** Of an isolate's 128 MB; the rest is the runtime's. */
const MAX_ISOLATE_BYTES = 112 * MIB

/** A package of 170 MB is made, uploaded and loaded, on cores that others may use. */
const TIMEOUT_MS = 240_000

function expectWithin(row: MemoryRow): void {
  expect(row.wasmBytes).toBeLessThanOrEqual(MAX_WASM_BYTES)
  expect(row.wasmBytes + row.jsBytes).toBeLessThanOrEqual(MAX_ISOLATE_BYTES)
}

function schemesOf(variant: string): FullSchemes {
  const schemes = VARIANTS[variant]
  if (!schemes) throw new Error(`${variant}: no such variant`)
  return schemes
}

test(
  'default packages of full size answer texts of 77 tokens and pictures within 96 MiB of linear memory and 112 of all',
  async () => {
    const { rows, refusals } = await measureEncoders('default', schemesOf('default'))
    expect(refusals).toEqual([])
    const [text, image] = rows
    if (!text || !image) throw new Error('expected a row for each encoder')
    expectWithin(text)
    expectWithin(image)
    expect(text.weightBytes).toBeLessThanOrEqual(MAX_TEXT_WEIGHT_BYTES)
    // The texts were too many for one pass; what cut them was memory.
    expect(text.activationBytes).toBeGreaterThan(2.5 * MIB)
    expect(text.activationBytes).toBeLessThanOrEqual(4 * MIB)
    expect(text.weightBytes + text.activationBytes).toBeLessThanOrEqual(text.wasmBytes)
  },
  TIMEOUT_MS,
)

test(
  'small packages of full size stay within both as well',
  async () => {
    const { rows, refusals } = await measureEncoders('small', schemesOf('small'))
    expect(refusals).toEqual([])
    expect(rows.map(({ worker }) => worker)).toEqual(['text', 'image'])
    for (const row of rows) {
      expectWithin(row)
      expect(row.weightBytes).toBeLessThanOrEqual(MAX_SMALL_WEIGHT_BYTES)
    }
  },
  TIMEOUT_MS,
)

test(
  'a text package of 7 bits is refused by its Worker for its size, and pictures of 7 bits are answered beside it',
  async () => {
    const { rows, refusals } = await measureEncoders('w7', schemesOf('w7'))
    expect(refusals).toEqual([expect.stringMatching(/^w7: text: model_package_invalid: .*expected tensors of at most/)])
    expect(rows.map(({ worker }) => worker)).toEqual(['image'])
    for (const row of rows) expectWithin(row)
  },
  TIMEOUT_MS,
)

test(
  'the pixels Worker takes the largest picture within 112 MiB, decoder and JavaScript together',
  async () => {
    const row = await measurePixels()
    // 4 bytes a pixel: the whole picture was there.
    expect(row.wasmBytes).toBeGreaterThan(4096 * 3072 * 4)
    expect(row.wasmBytes + row.jsBytes).toBeLessThanOrEqual(MAX_ISOLATE_BYTES)
  },
  TIMEOUT_MS,
)
