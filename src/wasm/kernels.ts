// The typed binding of the WASM kernels: owns the linear memory, checks shapes and pointers, calls. Numbers only: it
// does not know what a model is. Tensors are row-major; every pointer is a byte offset into `memory`.
import { InvalidInputError, ShapeMismatchError } from '../errors.ts'
import { Arena } from './arena.ts'
import { expectCount, expectRegion } from './expect-shape.ts'
import { bindKernelExports } from './kernel-exports.ts'
import type { KernelExports } from './kernel-exports.ts'
import { expectWeightShape, K_STEP, MAX_K, MR } from './pack.ts'
import { selectKernelBuild } from './select-build.ts'
import type { KernelBuild } from './select-build.ts'

export type { KernelBuild } from './select-build.ts'

/** Both compiled builds: build/wasm/relaxed.wasm and build/wasm/simd128.wasm. */
export interface KernelModules {
  relaxedSimd: WebAssembly.Module
  simd128: WebAssembly.Module
}

export interface KernelOptions {
  /** Declared maximum of linear memory; rounded down to whole 64 KiB pages. */
  maxBytes: number
  /** Default: what this engine can run. The results of the two builds are equal bit for bit. */
  build?: KernelBuild
}

/** Activations as the GEMM reads them: int8 rows in blocks of 4, one scale per row. */
export interface QuantizedRows {
  /** i8 [ceil(m/4)][k/4][4 rows][4 k] (pack.ts draws it). */
  readonly dataPtr: number
  /** f32 [ceil4(m)]. */
  readonly scalePtr: number
  /** i32 [ceil4(m)] = -64 * sum of the row: cancels the zero point of the weights. */
  readonly initPtr: number
  readonly m: number
  readonly k: number
}

/** A Linear layer's weights, w7a8: w ~= (u8 - 64) * scale. */
export interface PackedWeight {
  /** u8 [n/8][k/4][8 columns][4 k], values 1..127 (pack.ts draws it). */
  readonly dataPtr: number
  /** f32 [n]. */
  readonly scalePtr: number
  /** f32 [n]. */
  readonly biasPtr: number
  readonly n: number
  readonly k: number
}

export interface GemmOptions {
  /** Applied after the bias. Default 'none'. */
  activation?: 'none' | 'gelu'
  /** Adds to what `out` holds (a residual) instead of overwriting it. Default false. */
  accumulate?: boolean
}

/** Every method throws ShapeMismatchError for a size, alignment or region that does not fit. Float tensors are finite. */
export interface Kernels {
  readonly build: KernelBuild
  readonly memory: WebAssembly.Memory
  readonly arena: Arena

  /** Fresh views. Take them after the last `arena.alloc`: growth detaches older ones. */
  f32(ptr: number, length: number): Float32Array
  i32(ptr: number, length: number): Int32Array
  u8(ptr: number, length: number): Uint8Array
  i8(ptr: number, length: number): Int8Array

  /** src f32 [m, k] -> out of the same m, k: scale = absmax / 127 (1 for a zero row), halves to even. k % 4 == 0. */
  quantizeRows(srcPtr: number, m: number, k: number, out: QuantizedRows): void

  /** out f32 [a.m, weight.n] = activation(a w^T + bias), or += with `accumulate`. Writes no row past a.m. */
  gemmI8U7(a: QuantizedRows, weight: PackedWeight, outPtr: number, options?: GemmOptions): void

  /** src, dst f32 [m, hiddenSize], gamma and beta f32 [hiddenSize]; hiddenSize % 4 == 0; dst may be src. */
  layerNormF32(
    srcPtr: number,
    dstPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
  ): void

  /**
   * out = softmax(q k^T / sqrt(headDim)) v per head, all f32 [seqLen, numHeads * headDim]; headDim % 4 == 0; `out`
   * overlaps no input. Takes its scratch from the arena and gives it back, so it may throw OutOfMemoryError.
   */
  attentionF32(
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
  ): void

  /** Rows of f32 [m, length] to weights that sum to 1, relative error of exp below 1e-6; dst may be src. */
  softmaxF32(srcPtr: number, dstPtr: number, m: number, length: number): void

  /** x * Phi(x) with the error function, absolute error below 1e-6 for |x| <= 8; dst may be src. f32 [length]. */
  geluF32(srcPtr: number, dstPtr: number, length: number): void

  /** dst += src, f32 [length]. */
  addF32(dstPtr: number, srcPtr: number, length: number): void

  /**
   * dst f32 [count, hiddenSize] = table[ids[i]] * scale[ids[i]]; ids i32 [count], table i8 [vocab, hiddenSize], scale
   * f32 [vocab]; hiddenSize % 8 == 0. The caller has checked that ids lie inside the table: its size is unknown here.
   */
  embedRowsI8(
    idsPtr: number,
    count: number,
    tablePtr: number,
    scalePtr: number,
    dstPtr: number,
    hiddenSize: number,
  ): void
}

const PAGE_BYTES = 65536
const F32 = 4

/** What packed data is aligned to, so that no vector load crosses a cache line. */
const VECTOR_BYTES = 16

/**
 * Instantiates one build on a memory of its own, one page large at first.
 * @throws InvalidInputError when maxBytes is under one page
 * @throws ModelPackageError when a module is not a kernel build
 */
export function createKernels(modules: KernelModules, options: KernelOptions): Kernels {
  const maximum = Math.floor(options.maxBytes / PAGE_BYTES)
  if (!(maximum >= 1)) {
    throw new InvalidInputError(`maxBytes: expected at least ${PAGE_BYTES}, got ${options.maxBytes}`)
  }
  const build = options.build ?? selectKernelBuild()
  const memory = new WebAssembly.Memory({ initial: 1, maximum })
  const module = build === 'relaxed-simd' ? modules.relaxedSimd : modules.simd128
  const exports = bindKernelExports(module, memory)
  return new WasmKernels(build, memory, new Arena(memory, exports.heapBase(), maximum * PAGE_BYTES), exports)
}

/** Room for `m` quantized rows, padded to whole blocks of 4. */
export function allocQuantizedRows(arena: Arena, m: number, k: number): QuantizedRows {
  expectCount('m', m)
  expectCount('k', k, K_STEP)
  const paddedRows = padRows(m)
  return {
    dataPtr: arena.alloc(paddedRows * k),
    scalePtr: arena.alloc(paddedRows * F32),
    initPtr: arena.alloc(paddedRows * F32),
    m,
    k,
  }
}

class WasmKernels implements Kernels {
  readonly build: KernelBuild
  readonly memory: WebAssembly.Memory
  readonly arena: Arena
  readonly #exports: KernelExports

  constructor(build: KernelBuild, memory: WebAssembly.Memory, arena: Arena, exports: KernelExports) {
    this.build = build
    this.memory = memory
    this.arena = arena
    this.#exports = exports
  }

  f32(ptr: number, length: number): Float32Array {
    this.#expectFloats('f32', ptr, length)
    return new Float32Array(this.memory.buffer, ptr, length)
  }

  i32(ptr: number, length: number): Int32Array {
    this.#expectFloats('i32', ptr, length)
    return new Int32Array(this.memory.buffer, ptr, length)
  }

  u8(ptr: number, length: number): Uint8Array {
    this.#expectBytes('u8', ptr, length, 1)
    return new Uint8Array(this.memory.buffer, ptr, length)
  }

  i8(ptr: number, length: number): Int8Array {
    this.#expectBytes('i8', ptr, length, 1)
    return new Int8Array(this.memory.buffer, ptr, length)
  }

  quantizeRows(srcPtr: number, m: number, k: number, out: QuantizedRows): void {
    this.#expectFloats('src', srcPtr, m * k)
    if (out.m !== m || out.k !== k) {
      throw new ShapeMismatchError(`quantizeRows: expected out of shape [${m}, ${k}], got [${out.m}, ${out.k}]`)
    }
    this.#expectRows(out)
    this.#exports.quantizeRows(srcPtr, m, k, out.dataPtr, out.scalePtr, out.initPtr)
  }

  gemmI8U7(a: QuantizedRows, weight: PackedWeight, outPtr: number, options: GemmOptions = {}): void {
    const { m, k } = a
    const { n } = weight
    if (weight.k !== k) {
      throw new ShapeMismatchError(
        `gemmI8U7: expected weights [n, ${k}] for rows [${m}, ${k}], got [${n}, ${weight.k}]`,
      )
    }
    expectWeightShape(n, k)
    this.#expectRows(a)
    this.#expectBytes('weight.data', weight.dataPtr, n * k, VECTOR_BYTES)
    this.#expectFloats('weight.scale', weight.scalePtr, n)
    this.#expectFloats('weight.bias', weight.biasPtr, n)
    this.#expectFloats('out', outPtr, m * n)
    this.#exports.gemmI8U7(
      a.dataPtr,
      a.scalePtr,
      a.initPtr,
      weight.dataPtr,
      weight.scalePtr,
      weight.biasPtr,
      outPtr,
      m,
      n,
      k,
      options.activation === 'gelu' ? 1 : 0,
      options.accumulate === true ? 1 : 0,
    )
  }

  layerNormF32(
    srcPtr: number,
    dstPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
  ): void {
    expectCount('m', m)
    expectCount('hiddenSize', hiddenSize, 4)
    this.#expectFloats('src', srcPtr, m * hiddenSize)
    this.#expectFloats('dst', dstPtr, m * hiddenSize)
    this.#expectFloats('gamma', gammaPtr, hiddenSize)
    this.#expectFloats('beta', betaPtr, hiddenSize)
    this.#exports.layerNormF32(srcPtr, dstPtr, gammaPtr, betaPtr, m, hiddenSize, eps)
  }

  attentionF32(
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
  ): void {
    expectCount('seqLen', seqLen)
    expectCount('numHeads', numHeads)
    expectCount('headDim', headDim, 4)
    const length = seqLen * numHeads * headDim
    this.#expectFloats('q', qPtr, length)
    this.#expectFloats('k', kPtr, length)
    this.#expectFloats('v', vPtr, length)
    this.#expectFloats('out', outPtr, length)
    const mark = this.arena.mark()
    try {
      const scratchPtr = this.arena.alloc(attentionScratchBytes(seqLen, headDim))
      this.#exports.attentionF32(qPtr, kPtr, vPtr, outPtr, seqLen, numHeads, headDim, scratchPtr)
    } finally {
      this.arena.release(mark)
    }
  }

  softmaxF32(srcPtr: number, dstPtr: number, m: number, length: number): void {
    expectCount('m', m)
    expectCount('length', length)
    this.#expectFloats('src', srcPtr, m * length)
    this.#expectFloats('dst', dstPtr, m * length)
    this.#exports.softmaxF32(srcPtr, dstPtr, m, length)
  }

  geluF32(srcPtr: number, dstPtr: number, length: number): void {
    this.#expectFloats('src', srcPtr, length)
    this.#expectFloats('dst', dstPtr, length)
    this.#exports.geluF32(srcPtr, dstPtr, length)
  }

  addF32(dstPtr: number, srcPtr: number, length: number): void {
    this.#expectFloats('dst', dstPtr, length)
    this.#expectFloats('src', srcPtr, length)
    this.#exports.addF32(dstPtr, srcPtr, length)
  }

  embedRowsI8(
    idsPtr: number,
    count: number,
    tablePtr: number,
    scalePtr: number,
    dstPtr: number,
    hiddenSize: number,
  ): void {
    expectCount('count', count)
    expectCount('hiddenSize', hiddenSize, 8)
    this.#expectFloats('ids', idsPtr, count)
    this.#expectBytes('table', tablePtr, 0, 1)
    this.#expectFloats('scale', scalePtr, 0)
    this.#expectFloats('dst', dstPtr, count * hiddenSize)
    this.#exports.embedRowsI8(idsPtr, count, tablePtr, scalePtr, dstPtr, hiddenSize)
  }

  #expectRows({ dataPtr, scalePtr, initPtr, m, k }: QuantizedRows): void {
    expectCount('m', m)
    expectCount('k', k, K_STEP)
    if (k > MAX_K) throw new ShapeMismatchError(`k: expected at most ${MAX_K}, got ${k}`)
    this.#expectBytes('rows.data', dataPtr, padRows(m) * k, VECTOR_BYTES)
    this.#expectFloats('rows.scale', scalePtr, padRows(m))
    this.#expectFloats('rows.init', initPtr, padRows(m))
  }

  #expectFloats(name: string, ptr: number, length: number): void {
    this.#expectBytes(name, ptr, length * F32, F32)
  }

  #expectBytes(name: string, ptr: number, bytes: number, alignBytes: number): void {
    expectCount(`${name} size`, bytes)
    expectRegion(this.memory, name, ptr, bytes, alignBytes)
  }
}

function padRows(m: number): number {
  return Math.ceil(m / MR) * MR
}

/** Bytes of the scratch that attentionF32 lays out: keys, queries, scores, inverse sums, tile and its output rows. */
function attentionScratchBytes(seqLen: number, headDim: number): number {
  const paddedKeys = Math.ceil(seqLen / 4) * 4
  return F32 * (paddedKeys * headDim + headDim * 8 + paddedKeys * 8 + 8 + 4 * 8 + 8 * 4)
}
