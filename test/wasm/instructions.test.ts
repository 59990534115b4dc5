// Guards on the compiled code: no relaxed float instruction, and the statement order that the speed depends on.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildWasm, OPTIMIZE_FLAG, WASM_BUILDS, WASM_DIR } from '../../tools/build-wasm.ts'

const texts = new Map<string, string>()

beforeAll(async () => {
  await buildWasm()
  for (const { name } of WASM_BUILDS) texts.set(name, await readFile(join(WASM_DIR, `${name}.wat`), 'utf8'))
})

/** The instruction lines of a build, or of the one function whose name ends so. */
function instructionsOf(name: string, functionName?: string): string[] {
  const text = texts.get(name) ?? ''
  const functions = text.split(/^ \(func /m).slice(1)
  const chosen = functions.filter(
    (body) => functionName === undefined || (body.split(' ')[0] ?? '').endsWith(functionName),
  )
  expect(chosen.length).toBeGreaterThan(0)
  return chosen.flatMap((body) => body.split('\n').map((line) => line.trim()))
}

describe('the relaxed build', () => {
  test('uses two relaxed instructions, the integer dot products, in its tiles and the probe of the CPU', () => {
    const relaxed = instructionsOf('relaxed').filter((line) => line.includes('relaxed_'))
    const counts = Object.groupBy(relaxed, (line) => line)
    expect(Object.fromEntries(Object.entries(counts).map(([line, lines]) => [line, lines?.length]))).toEqual({
      'i16x8.relaxed_dot_i8x16_i7x16_s': 8 + 16 + 16,
      'i32x4.relaxed_dot_i8x16_i7x16_add_s': 8 + 1,
    })
  })
})

describe('the SIMD128 build', () => {
  test('uses no relaxed instruction', () => {
    expect(instructionsOf('simd128').filter((line) => line.includes('relaxed_'))).toEqual([])
  })
})

describe('both builds', () => {
  test('are compiled at -O1 or -O2 and nothing later overrides it', () => {
    expect(['-O1', '-O2']).toContain(OPTIMIZE_FLAG)
    for (const { flags } of WASM_BUILDS) {
      const levels = flags.filter((flag) => /^(-O|--optimize|--shrinkLevel|--converge|--uncheckedBehavior)/.test(flag))
      expect(levels).toEqual([OPTIMIZE_FLAG])
    }
  })

  test.each([
    ['relaxed', 'dotTileFused', 'i32x4.relaxed_dot_i8x16_i7x16_add_s', 8],
    ['relaxed', 'dotTilePairs', 'i32x4.add', 8],
    ['relaxed', 'dotTileRuns', 'i16x8.add', 8],
    ['relaxed', 'dotTileQuads', 'i32x4.add', 8],
  ])('%s stores every partial sum of %s before the next one starts', (build, functionName, sum, count) => {
    // At -O3 the sums of one accumulator become one nested expression: a sum whose result feeds the next one.
    const instructions = instructionsOf(build, functionName)
    const after = instructions.flatMap((line, i) => (line === sum ? [instructions[i + 1] ?? ''] : []))
    expect(after).toHaveLength(count)
    expect(after.filter((line) => !line.startsWith('local.set '))).toEqual([])
  })

  test.each([
    ['dotTileWide', 32],
    ['dotTileStrassen', 7 * 32],
  ])('%s stores every partial sum of its %i dot products before the next one starts', (functionName, count) => {
    for (const { name } of WASM_BUILDS) {
      const instructions = instructionsOf(name, functionName)
      const after = instructions.flatMap((line, i) =>
        line === 'i32x4.dot_i16x8_s' ? [instructions.slice(i + 1, i + 3).map((next) => next.split(' ')[0])] : [],
      )
      expect(after).toEqual(Array.from({ length: count }, () => ['i32x4.add', 'local.set']))
    }
  })

  test('have the same float code: every function but the integer tiles, their callers and the choice of one is equal', () => {
    const functionsOf = (name: string) => {
      const functions = (texts.get(name) ?? '').split(/^ \(func /m).slice(1)
      const shared = functions.filter(
        (body) => !/^\S*(\/tile-|gemm(-wide)?\/|row-starts\/|unpackScales|~start|selectDotKind)/.test(body),
      )
      // The compiler lists functions as it meets their callers.
      return shared.toSorted()
    }
    expect(functionsOf('relaxed')).toEqual(functionsOf('simd128'))
  })

  test('import nothing but the memory', () => {
    for (const { name } of WASM_BUILDS) {
      const imports = (texts.get(name) ?? '').match(/^ \(import .*$/gm)
      expect(imports).toEqual([' (import "env" "memory" (memory $0 1))'])
    }
  })
})
