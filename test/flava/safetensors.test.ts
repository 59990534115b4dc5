// The streaming reader: any chunking gives the same tensors, and no damaged file passes.
import { array, assert, nat, property } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ModelPackageError } from '../../src/errors.ts'
import { createSafetensorsParser } from '../../src/flava/safetensors.ts'
import type { SafetensorsHeader } from '../../src/flava/safetensors.ts'
import { fileOf, safetensorsFile } from './tiny-package.ts'
import type { FileTensor } from './tiny-package.ts'

const TENSORS: FileTensor[] = [
  { name: 'second.name', dtype: 'U8', shape: [2, 3], bytes: Uint8Array.of(1, 2, 3, 4, 5, 6) },
  { name: 'empty', dtype: 'I8', shape: [0, 7], bytes: new Uint8Array(0) },
  { name: 'half.name', dtype: 'BF16', shape: [2], bytes: Uint8Array.of(11, 12, 13, 14) },
  { name: 'first.name', dtype: 'F32', shape: [1], bytes: Uint8Array.of(7, 8, 9, 10) },
]
const FILE = safetensorsFile(TENSORS)

function parse(chunks: readonly Uint8Array[]) {
  const bytes = new Map<string, number[]>()
  let header: SafetensorsHeader | undefined
  const parser = createSafetensorsParser('a.safetensors', {
    onHeader: (found) => {
      header = found
    },
    onBytes: ({ name }, offset, piece) => {
      const sofar = bytes.get(name) ?? []
      expect(offset).toBe(sofar.length)
      bytes.set(name, [...sofar, ...piece])
    },
  })
  for (const chunk of chunks) parser.push(chunk)
  parser.end()
  return { header, bytes }
}

function refusal(...chunks: readonly Uint8Array[]): string {
  try {
    parse(chunks)
  } catch (error) {
    if (error instanceof ModelPackageError) return error.message
    throw error
  }
  throw new Error('expected the file to be refused')
}

function entry(fields: object): string {
  return JSON.stringify({ x: { dtype: 'U8', shape: [4], data_offsets: [0, 4], ...fields } })
}

describe('createSafetensorsParser', () => {
  test('finds metadata and tensors in file order', () => {
    const { header, bytes } = parse([FILE])
    expect(header?.metadata).toEqual({ format: 'pt' })
    expect(header?.tensors.map(({ name }) => name)).toEqual(['second.name', 'empty', 'half.name', 'first.name'])
    expect(bytes.get('second.name')).toEqual([1, 2, 3, 4, 5, 6])
    expect(bytes.get('first.name')).toEqual([7, 8, 9, 10])
  })

  test('gives the same tensors however the file is cut into chunks', () => {
    const whole = parse([FILE])
    assert(
      property(array(nat(FILE.length)), (cuts) => {
        const bounds = [0, ...cuts.toSorted((a, b) => a - b), FILE.length]
        const chunks = bounds.slice(1).map((end, index) => FILE.subarray(bounds[index], end))
        expect(parse(chunks)).toEqual(whole)
      }),
      { seed: 7 },
    )
  })

  test('refuses every truncation and says where it was', () => {
    for (let length = 0; length < FILE.length; length += 1) {
      expect(refusal(FILE.subarray(0, length))).toMatch(/a\.safetensors: truncated (inside its header|in \S+:)/)
    }
    expect(refusal(FILE.subarray(0, FILE.length - 1))).toContain(
      'truncated in first.name: expected 14 tensor bytes, got 13',
    )
  })

  test('refuses bytes after the last tensor', () => {
    expect(refusal(FILE, Uint8Array.of(0))).toContain('1 or more bytes after the last tensor')
  })

  test('refuses files of another kind', () => {
    expect(refusal(Buffer.from('PK\u0003\u0004 this is a zip file and no tensors'))).toContain('not a safetensors file')
    expect(refusal(fileOf('[1, 2]'))).toContain('header is not JSON')
    expect(refusal(fileOf('{"broken": '))).toContain('header is not a JSON object')
    expect(refusal(new Uint8Array(16))).toContain('header length 0')
  })

  test('refuses entries whose offsets, dtype, shape or metadata are wrong, by name', () => {
    const data = new Uint8Array(4)
    expect(refusal(fileOf(entry({ data_offsets: [1, 5] }), data))).toContain('x: expected offset 0, got 1')
    expect(refusal(fileOf(entry({ data_offsets: [0, 3] }), data))).toContain('x: U8 [4] takes 4 bytes, got 3')
    expect(refusal(fileOf(entry({ dtype: 'F64' }), data))).toContain('x: dtype')
    expect(refusal(fileOf(entry({ shape: [-4] }), data))).toContain('x: shape.0')
    expect(refusal(fileOf('{"__metadata__":{"a":1}}'))).toContain('__metadata__: expected strings')
  })
})
