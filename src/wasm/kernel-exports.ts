// The functions of a kernel build as they lie in the .wasm, and the check that a module really has them.
// Raw numbers, nothing checked: kernels.ts is what callers use.
import { ModelPackageError } from '../errors.ts'

/** Arguments are byte offsets and sizes, in the order of src/wasm/assembly. */
export interface KernelExports {
  heapBase: () => number
  addF32: (dstPtr: number, srcPtr: number, length: number) => void
  attention: (
    qPtr: number,
    kPtr: number,
    vPtr: number,
    outPtr: number,
    numQueries: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
    scratchPtr: number,
  ) => void
  embedRows4: EmbedRows
  embedRows6: EmbedRows
  embedRows8: EmbedRows
  dotKind: () => number
  selectDotKind: (kind: number) => void
  gemm: (
    bits: number,
    group: number,
    aPtr: number,
    aScalePtr: number,
    wPtr: number,
    wScalePtr: number,
    biasPtr: number,
    outPtr: number,
    m: number,
    n: number,
    k: number,
    hasGelu: number,
    isAccumulating: number,
    scratchPtr: number,
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
  layerNormQuantize: (
    srcPtr: number,
    gammaPtr: number,
    betaPtr: number,
    m: number,
    hiddenSize: number,
    eps: number,
    dataPtr: number,
    scalePtr: number,
    scratchPtr: number,
  ) => void
  quantizeRows: (srcPtr: number, m: number, k: number, dataPtr: number, scalePtr: number) => void
}

type EmbedRows = (
  idsPtr: number,
  count: number,
  tablePtr: number,
  scalePtr: number,
  dstPtr: number,
  hiddenSize: number,
) => void

const EXPORT_NAMES = [
  'heapBase',
  'addF32',
  'attention',
  'embedRows4',
  'embedRows6',
  'embedRows8',
  'dotKind',
  'selectDotKind',
  'gemm',
  'geluF32',
  'layerNormF32',
  'layerNormQuantize',
  'quantizeRows',
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
