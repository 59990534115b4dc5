// The functions of a kernel build as they lie in the .wasm, and the check that a module really has them.
// Raw numbers, nothing checked: kernels.ts is what callers use.
import { ModelPackageError } from '../errors.ts'

/** Arguments are byte offsets and sizes, in the order of src/wasm/assembly. */
export interface KernelExports {
  heapBase: () => number
  addF32: (dstPtr: number, srcPtr: number, length: number) => void
  attentionF32: (
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
    scratchPtr: number,
  ) => void
  embedRowsI8: (
    idsPtr: number,
    count: number,
    tablePtr: number,
    scalePtr: number,
    dstPtr: number,
    hiddenSize: number,
  ) => void
  gemmI8U7: (
    aPtr: number,
    aScalePtr: number,
    initPtr: number,
    wPtr: number,
    wScalePtr: number,
    biasPtr: number,
    outPtr: number,
    m: number,
    n: number,
    k: number,
    hasGelu: number,
    isAccumulating: number,
  ) => void
  geluF32: (srcPtr: number, dstPtr: number, length: number) => void
  layerNormF32: (
    srcPtr: number,
    dstPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
  ) => void
  quantizeRows: (srcPtr: number, m: number, k: number, dataPtr: number, scalePtr: number, initPtr: number) => void
  softmaxF32: (srcPtr: number, dstPtr: number, m: number, length: number) => void
}

const EXPORT_NAMES = [
  'heapBase',
  'addF32',
  'attentionF32',
  'embedRowsI8',
  'gemmI8U7',
  'geluF32',
  'layerNormF32',
  'quantizeRows',
  'softmaxF32',
] as const satisfies readonly (keyof KernelExports)[]

/** Instantiates a kernel build on this memory. @throws ModelPackageError when the module is another one */
export function bindKernelExports(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const exports: unknown = new WebAssembly.Instance(module, { env: { memory } }).exports
  if (!isKernelExports(exports)) {
    throw new ModelPackageError(`kernels: expected a module that exports ${EXPORT_NAMES.join(', ')}`)
  }
  return exports
}

function isKernelExports(exports: unknown): exports is KernelExports {
  if (typeof exports !== 'object' || exports === null) return false
  const functions = new Map(Object.entries(exports))
  return EXPORT_NAMES.every((name) => typeof functions.get(name) === 'function')
}
