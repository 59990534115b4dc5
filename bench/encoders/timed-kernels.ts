// A Kernels whose methods are timed, for the stage profile. Stages are named after what the encoders call; GELU is told from
// its GEMM by running that GEMM once more without it.
import type { Kernels } from '../../src/wasm/kernels.ts'

export interface StageClock {
  kernels: Kernels
  /** Milliseconds by stage since the last call; starts again from zero. */
  take: () => Map<string, number>
}

/** A method of Kernels as far as a wrapper cares. */
type Method = (...args: unknown[]) => unknown

/** Methods that are no work of their own. */
const VIEWS: ReadonlySet<string> = new Set(['f32', 'i32', 'u8', 'i8'])

const STAGES: Readonly<Record<string, string>> = {
  layerNormQuantize: 'LayerNorm + quantize',
  layerNormF32: 'LayerNorm',
  quantizeRows: 'quantize',
  attention: 'attention (softmax inside)',
  attentionF32: 'attention (softmax inside)',
  embedRows: 'embedding',
  embedRowsI8: 'embedding',
  addF32: 'embedding',
  geluF32: 'GELU',
}

/**
 * @param named stages of Linears outside the blocks, by their weights' address: their shapes can be those of a block's
 */
export function clockStages(kernels: Kernels, named: ReadonlyMap<number, string>): StageClock {
  let stages = new Map<string, number>()
  const add = (stage: string, elapsedMs: number) => stages.set(stage, (stages.get(stage) ?? 0) + elapsedMs)
  const gemm: Kernels['gemm'] = (a, weight, outPtr, options) => {
    const stage = named.get(weight.dataPtr) ?? gemmStage(weight.n, weight.k, options?.accumulate === true)
    if (options?.activation !== 'gelu') {
      add(
        stage,
        elapsed(() => kernels.gemm(a, weight, outPtr, options)),
      )
      return
    }
    const plainMs = elapsed(() => kernels.gemm(a, weight, outPtr, { ...options, activation: 'none' }))
    const bothMs = elapsed(() => kernels.gemm(a, weight, outPtr, options))
    add(stage, Math.min(plainMs, bothMs))
    add('GELU', Math.max(0, bothMs - plainMs))
  }
  const timed = new Proxy(kernels, {
    get(target, property) {
      if (property === 'gemm') return gemm
      const value: unknown = Reflect.get(target, property, target)
      if (typeof value !== 'function' || typeof property !== 'string') return value
      const method: Method = value.bind(target)
      if (VIEWS.has(property)) return method
      const stage = STAGES[property] ?? property
      return (...args: unknown[]) => {
        let result: unknown
        add(
          stage,
          elapsed(() => (result = method(...args))),
        )
        return result
      }
    },
  })
  return {
    kernels: timed,
    take: () => {
      const taken = stages
      stages = new Map()
      return taken
    },
  }
}

/** By its shape: up and down are the two of the feed-forward, and only residuals accumulate. */
function gemmStage(n: number, k: number, isAccumulating: boolean): string {
  if (n > k) return 'GEMM feed-forward up'
  if (n < k) return 'GEMM feed-forward down'
  return isAccumulating ? 'GEMM attention output' : 'GEMM query, key, value'
}

function elapsed(run: () => void): number {
  const startMs = performance.now()
  run()
  return performance.now() - startMs
}
