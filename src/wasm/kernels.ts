// The typed binding of the WASM kernels: owns the linear memory, checks shapes and pointers, calls. Numbers only: it
// does not know what a model is. Tensors are row-major; every pointer is a byte offset into `memory`.
import { InvalidInputError, ShapeMismatchError } from '../errors.ts'
import { Arena } from './arena.ts'
import { expectCount, expectRegion } from './expect-shape.ts'
import { bindKernelExports } from './kernel-exports.ts'
import type { KernelExports } from './kernel-exports.ts'
import { K_STEP, MAX_K } from './pack.ts'
import type { QuantizedRows } from './quantized-rows.ts'
import { embeddingTensors, expectLinearShape, linearFormat, linearTensors, storedBytes } from './schemes.ts'
import type { EmbeddingScheme, LinearScheme } from './schemes.ts'
import { attentionScratchBytes, gemmScratchBytes, layerNormScratchBytes, padRows } from './scratch-bytes.ts'
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
  /** Default: the CPU's best. For tests and benches; the plain build is always 'wide'. */
  dotKind?: DotKind
}

/** A Linear layer's weights as the GEMM reads them. */
export interface PackedWeight {
  readonly scheme: LinearScheme
  /** Panels of 8 output channels; packWeight in pack.ts draws the bytes of each scheme. */
  readonly dataPtr: number
  /** f32 [n], or bf16 [n/8][k/group][8 columns] for group schemes. */
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

/**
 * What integer sums run on: one instruction for a byte dot product (x86 VNNI, ARM), byte pairs in int16 (other x86), or
 * plain SIMD128. Speed only; the sums are equal.
 */
export type DotKind = 'fused' | 'pairs' | 'wide'

/** Every method throws ShapeMismatchError for a size, alignment or region that does not fit. Float tensors are finite. */
export interface Kernels {
  readonly build: KernelBuild
  readonly dotKind: DotKind
  readonly memory: WebAssembly.Memory
  readonly arena: Arena

  /** Fresh views. Take them after the last `arena.alloc`: growth detaches older ones. */
  f32(ptr: number, length: number): Float32Array
  i32(ptr: number, length: number): Int32Array
  u8(ptr: number, length: number): Uint8Array
  i8(ptr: number, length: number): Int8Array

  /** src f32 [m, k] -> out of the same m, k: scale = absmax / 127 (1 for a zero row), halves to even. k % 4 == 0. */
  quantizeRows(srcPtr: number, m: number, k: number, out: QuantizedRows): void

  /**
   * out f32 [a.m, weight.n] = activation(a w^T + bias), or += with `accumulate`. Writes no row past a.m. Takes its
   * scratch from the arena and gives it back, so it may throw OutOfMemoryError.
   */
  gemm(a: QuantizedRows, weight: PackedWeight, outPtr: number, options?: GemmOptions): void

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
   * quantizeRows(layerNormF32(src)) in one, without the float rows in between. Takes its scratch from the arena and
   * gives it back, so it may throw OutOfMemoryError.
   */
  layerNormQuantize(
    srcPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
    out: QuantizedRows,
  ): void

  /**
   * out = softmax(q k^T / sqrt(headDim)) v per head: q, out f32 [numQueries, numHeads * headDim], k, v f32 [seqLen,
   * numHeads * headDim]; headDim % 8 == 0, seqLen at most 65536; `out` overlaps no input. An output row depends on its own query
   * alone. numQueries is seqLen unless given. Both products run on 16-bit integers; a test bounds the error. Takes its
   * scratch from the arena and gives it back, so it may throw OutOfMemoryError.
   */
  attention(
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
    numQueries?: number,
  ): void

  /** x * Phi(x) with the error function, absolute error below 2e-6; dst may be src. f32 [length]. */
  geluF32(srcPtr: number, dstPtr: number, length: number): void

  /** dst += src, f32 [length]. */
  addF32(dstPtr: number, srcPtr: number, length: number): void

  /**
   * dst f32 [count, hiddenSize] = rows ids[i] of the table, dequantized; ids i32 [count], table and scale as
   * embeddingTensors in schemes.ts announces them. The caller has checked that ids lie inside the table: its size is
   * unknown here.
   * @throws ShapeMismatchError when a row does not hold whole packed pieces
   */
  embedRows(
    scheme: EmbeddingScheme,
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

/** So that integer sums cannot overflow: see assembly/attention.ts. */
const MAX_ATTENTION_LENGTH = 65536

const EMBED_EXPORTS = { e8: 'embedRows8', e6: 'embedRows6', e4g32: 'embedRows4' } as const

/** By the number that the module's dotKind() gives. */
const DOT_KINDS: readonly DotKind[] = ['wide', 'pairs', 'fused']

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
  if (options.dotKind !== undefined) exports.selectDotKind(DOT_KINDS.indexOf(options.dotKind))
  return new WasmKernels(build, memory, new Arena(memory, exports.heapBase(), maximum * PAGE_BYTES), exports)
}

class WasmKernels implements Kernels {
  readonly build: KernelBuild
  readonly dotKind: DotKind
  readonly memory: WebAssembly.Memory
  readonly arena: Arena
  readonly #exports: KernelExports

  constructor(build: KernelBuild, memory: WebAssembly.Memory, arena: Arena, exports: KernelExports) {
    this.build = build
    this.dotKind = DOT_KINDS[exports.dotKind()] ?? 'wide'
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
    this.#expectRowsOf('quantizeRows', out, m, k)
    this.#exports.quantizeRows(srcPtr, m, k, out.dataPtr, out.scalePtr)
  }

  gemm(a: QuantizedRows, weight: PackedWeight, outPtr: number, options: GemmOptions = {}): void {
    const { m, k } = a
    const { scheme, n } = weight
    if (weight.k !== k) {
      throw new ShapeMismatchError(`gemm: expected weights [n, ${k}] for rows [${m}, ${k}], got [${n}, ${weight.k}]`)
    }
    this.#expectRows(a)
    this.#expectWeight(weight)
    this.#expectFloats('out', outPtr, m * n)
    const { bits, group } = linearFormat(scheme, k)
    const mark = this.arena.mark()
    try {
      const scratchPtr = this.arena.alloc(gemmScratchBytes(scheme, m, k, this.dotKind))
      this.#exports.gemm(
        bits,
        group,
        a.dataPtr,
        a.scalePtr,
        weight.dataPtr,
        weight.scalePtr,
        weight.biasPtr,
        outPtr,
        m,
        n,
        k,
        options.activation === 'gelu' ? 1 : 0,
        options.accumulate === true ? 1 : 0,
        scratchPtr,
      )
    } finally {
      this.arena.release(mark)
    }
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

  layerNormQuantize(
    srcPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
    out: QuantizedRows,
  ): void {
    expectCount('m', m)
    expectCount('hiddenSize', hiddenSize, 4)
    this.#expectFloats('src', srcPtr, m * hiddenSize)
    this.#expectFloats('gamma', gammaPtr, hiddenSize)
    this.#expectFloats('beta', betaPtr, hiddenSize)
    this.#expectRowsOf('layerNormQuantize', out, m, hiddenSize)
    const mark = this.arena.mark()
    try {
      const scratchPtr = this.arena.alloc(layerNormScratchBytes(hiddenSize))
      const { dataPtr, scalePtr } = out
      this.#exports.layerNormQuantize(srcPtr, gammaPtr, betaPtr, m, hiddenSize, eps, dataPtr, scalePtr, scratchPtr)
    } finally {
      this.arena.release(mark)
    }
  }

  attention(
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
    numQueries: number = seqLen,
  ): void {
    expectCount('seqLen', seqLen)
    expectCount('numQueries', numQueries)
    expectCount('numHeads', numHeads)
    expectCount('headDim', headDim, 8)
    if (seqLen > MAX_ATTENTION_LENGTH) {
      throw new ShapeMismatchError(`seqLen: expected at most ${MAX_ATTENTION_LENGTH}, got ${seqLen}`)
    }
    const hiddenSize = numHeads * headDim
    this.#expectFloats('q', qPtr, numQueries * hiddenSize)
    this.#expectFloats('k', kPtr, seqLen * hiddenSize)
    this.#expectFloats('v', vPtr, seqLen * hiddenSize)
    this.#expectFloats('out', outPtr, numQueries * hiddenSize)
    if (seqLen === 0) return
    const mark = this.arena.mark()
    try {
      const scratchPtr = this.arena.alloc(attentionScratchBytes(seqLen, headDim))
      this.#exports.attention(qPtr, kPtr, vPtr, outPtr, numQueries, seqLen, numHeads, headDim, scratchPtr)
    } finally {
      this.arena.release(mark)
    }
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

  embedRows(
    scheme: EmbeddingScheme,
    idsPtr: number,
    count: number,
    tablePtr: number,
    scalePtr: number,
    dstPtr: number,
    hiddenSize: number,
  ): void {
    expectCount('count', count)
    const { weight, scale } = embeddingTensors(scheme, 1, hiddenSize)
    this.#expectFloats('ids', idsPtr, count)
    this.#expectBytes('table', tablePtr, storedBytes(weight), 1)
    this.#expectBytes('scale', scalePtr, storedBytes(scale), scale.dtype === 'BF16' ? 2 : F32)
    this.#expectFloats('dst', dstPtr, count * hiddenSize)
    const embed = this.#exports[EMBED_EXPORTS[scheme]]
    embed(idsPtr, count, tablePtr, scalePtr, dstPtr, hiddenSize)
  }

  #expectWeight({ scheme, dataPtr, scalePtr, biasPtr, n, k }: PackedWeight): void {
    expectLinearShape(scheme, n, k)
    const { weight, scale } = linearTensors(scheme, n, k)
    this.#expectBytes('weight.data', dataPtr, storedBytes(weight), VECTOR_BYTES)
    this.#expectBytes('weight.scale', scalePtr, storedBytes(scale), F32)
    this.#expectFloats('weight.bias', biasPtr, n)
  }

  #expectRowsOf(name: string, rows: QuantizedRows, m: number, k: number): void {
    if (rows.m !== m || rows.k !== k) {
      throw new ShapeMismatchError(`${name}: expected out of shape [${m}, ${k}], got [${rows.m}, ${rows.k}]`)
    }
    this.#expectRows(rows)
  }

  #expectRows({ dataPtr, scalePtr, m, k }: QuantizedRows): void {
    expectCount('m', m)
    expectCount('k', k, K_STEP)
    if (k > MAX_K) throw new ShapeMismatchError(`k: expected at most ${MAX_K}, got ${k}`)
    this.#expectBytes('rows.data', dataPtr, padRows(m) * k, VECTOR_BYTES)
    this.#expectFloats('rows.scale', scalePtr, padRows(m))
  }

  #expectFloats(name: string, ptr: number, length: number): void {
    this.#expectBytes(name, ptr, length * F32, F32)
  }

  #expectBytes(name: string, ptr: number, bytes: number, alignBytes: number): void {
    expectCount(`${name} size`, bytes)
    expectRegion(this.memory, name, ptr, bytes, alignBytes)
  }
}
