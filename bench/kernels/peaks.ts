// What this CPU can do at most with each instruction idiom of the integer and float tiles, in V8, on this core: the
// bar that kernels are measured against. The module is written byte by byte, so that no compiler reorders it.

/** The step that turns an accumulator, an activation vector and a weight vector into the accumulator's next value. */
interface Idiom {
  name: string
  macsPerStep: number
  needsRelaxedSimd: boolean
  /** Instructions after `accumulator`, `row` and `weight` stand for reads of locals. */
  step: (accumulator: number[], row: number[], weight: number[], ones: number[]) => number[]
}

export interface Peak {
  idiom: string
  /** Median and best of the rounds. */
  gmacs: number
  bestGmacs: number
}

/** SIMD opcodes behind their prefix, LEB128. */
const op = (code: number) => [0xfd, ...leb128(code)]
const RELAXED_DOT = op(0x112)
const RELAXED_DOT_ADD = op(0x113)
const I16_ADD = op(0x8e)
const I32_ADD = op(0xae)
const I32_DOT_I16 = op(0xba)
const F32_ADD = op(0xe4)
const F32_MUL = op(0xe6)
const V128_XOR = op(0x51)

export const FUSED_DOT = 'i32x4.relaxed_dot_i8x16_i7x16_add_s'
export const INT16_SUMS = 'i16x8.relaxed_dot + i16x8.add'
export const QUADS_TO_INT32 = '2 x i16x8.relaxed_dot + i16x8.add + i32x4.dot_i16x8(ones) + i32x4.add'
export const INT16_DOT = 'i32x4.dot_i16x8 + i32x4.add'
const FLOAT_MULTIPLY_ADD = 'f32x4.mul + f32x4.add'

const IDIOMS: readonly Idiom[] = [
  {
    name: FUSED_DOT,
    macsPerStep: 16,
    needsRelaxedSimd: true,
    step: (c, a, w) => [...a, ...w, ...c, ...RELAXED_DOT_ADD],
  },
  {
    name: INT16_SUMS,
    macsPerStep: 16,
    needsRelaxedSimd: true,
    step: (c, a, w) => [...c, ...a, ...w, ...RELAXED_DOT, ...I16_ADD],
  },
  {
    name: QUADS_TO_INT32,
    macsPerStep: 32,
    needsRelaxedSimd: true,
    // The second product has its factors exchanged: V8 would compute the same one only once.
    step: (c, a, w, ones) => {
      const products = [...a, ...w, ...RELAXED_DOT, ...w, ...a, ...RELAXED_DOT, ...I16_ADD]
      return [...c, ...products, ...ones, ...I32_DOT_I16, ...I32_ADD]
    },
  },
  {
    name: INT16_DOT,
    macsPerStep: 8,
    needsRelaxedSimd: false,
    step: (c, a, w) => [...c, ...a, ...w, ...I32_DOT_I16, ...I32_ADD],
  },
  {
    name: FLOAT_MULTIPLY_ADD,
    macsPerStep: 4,
    needsRelaxedSimd: false,
    step: (c, a, w) => [...c, ...a, ...w, ...F32_MUL, ...F32_ADD],
  },
]

/** Independent sums, as many as a tile has, and how often their steps are repeated in the loop's body. */
const SUMS = 8
const REPEATS = 8
const ITERATIONS = 100_000
const ROUNDS = 15
const WARM_UP_ROUNDS = 4

/** Every idiom that this engine can run. */
export async function measurePeaks(): Promise<Peak[]> {
  const peaks: Peak[] = []
  for (const idiom of IDIOMS) {
    const bytes = peakModule(idiom)
    if (idiom.needsRelaxedSimd && !WebAssembly.validate(bytes)) continue
    const { run } = new WebAssembly.Instance(await WebAssembly.compile(bytes)).exports
    if (typeof run !== 'function') throw new Error(`${idiom.name}: the module exports no function`)
    const timesMs = Array.from({ length: WARM_UP_ROUNDS + ROUNDS }, () => {
      const startMs = performance.now()
      Reflect.apply(run, undefined, [ITERATIONS])
      return performance.now() - startMs
    })
    const sorted = timesMs.slice(WARM_UP_ROUNDS).toSorted((a, b) => a - b)
    const rate = (ms: number) => (idiom.macsPerStep * SUMS * REPEATS * ITERATIONS) / ms / 1e6
    peaks.push({ idiom: idiom.name, gmacs: rate(sorted[ROUNDS >> 1] ?? NaN), bestGmacs: rate(sorted[0] ?? NaN) })
  }
  return peaks
}

/**
 * (module (memory 1) (func (export "run") (param $n i32) (result i32) ...)): a loop of $n rounds over SUMS x REPEATS
 * steps. Two activation vectors stay in registers; a weight vector is loaded for every second step, as in a tile.
 */
function peakModule({ step }: Idiom): Uint8Array<ArrayBuffer> {
  const [n, address, weight, ones, firstRow, firstSum] = [0, 1, 2, 3, 4, 6]
  const get = (local: number) => [0x20, local]
  const set = (local: number) => [0x21, local]
  const load = (pointer: number[], offset: number) => [...pointer, ...op(0x00), 4, ...leb128(offset)]
  const constant = (value: number) => [0x41, ...signedLeb128(value)]
  const steps = Array.from({ length: SUMS * REPEATS }, (_, index) => {
    const sum = firstSum + (index % SUMS)
    const next = index % 2 === 0 ? [...load(get(address), 16 * index), ...set(weight)] : []
    return [...next, ...step(get(sum), get(firstRow + (index % 2)), get(weight), get(ones)), ...set(sum)]
  }).flat()
  // A different address each round keeps the loads inside the loop: ($n & 15) * 16.
  const advance = [...get(n), ...constant(15), 0x71, ...constant(4), 0x74, ...set(address)]
  const countDown = [...get(n), ...constant(1), 0x6b, 0x22, n, 0x0d, 0]
  const sums = Array.from({ length: SUMS }, (_, index) => firstSum + index)
  const result = [...sums.flatMap((sum, index) => [...get(sum), ...(index > 0 ? V128_XOR : [])]), ...op(0x1b), 0]
  const code = [
    ...load(constant(0), 0),
    ...set(firstRow),
    ...load(constant(0), 16),
    ...set(firstRow + 1),
    ...load(constant(0), 32),
    ...set(ones),
    0x03,
    0x40,
    ...advance,
    ...steps,
    ...countDown,
    0x0b,
    ...result,
    0x0b,
  ]
  const locals = [2, 1, 0x7f, firstSum + SUMS - 2, 0x7b]
  const body = [...locals, ...code]
  return new Uint8Array([
    ...MAGIC_AND_VERSION,
    ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [1, 3, 0x72, 0x75, 0x6e, 0, 0]),
    ...section(10, [1, ...leb128(body.length), ...body]),
  ])
}

/** "\0asm", version 1. */
const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]

function section(id: number, content: number[]): number[] {
  return [id, ...leb128(content.length), ...content]
}

function leb128(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >>> 7)]
}

/** For values from 0 to 8191. */
function signedLeb128(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, value >>> 7]
}
