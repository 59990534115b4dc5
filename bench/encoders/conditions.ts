// How V8 is run for a measurement. A condition is a Node process of its own with these flags.

/** What a JSON line calls the way in which V8 keeps WASM inside its memory. */
export type GuardCondition = 'guard-pages' | 'bounds-checks'

export interface Condition {
  name: string
  guard: GuardCondition
  nodeFlags: readonly string[]
  /** False where V8 was kept from the CPU's fused byte dot product, so that it stands for an older CPU. */
  isVnniAllowed: boolean
  title: string
}

/** Explicit bounds checks: how workerd appears to run WebAssembly, and so the condition that counts. */
const BOUNDS_CHECKS = '--disable-wasm-trap-handler'
const NO_VNNI = '--no-enable-avx-vnni'

export const CONDITIONS: readonly Condition[] = [
  { name: 'guard-pages', guard: 'guard-pages', nodeFlags: [], isVnniAllowed: true, title: 'Node as it is' },
  {
    name: 'bounds-checks',
    guard: 'bounds-checks',
    nodeFlags: [BOUNDS_CHECKS],
    isVnniAllowed: true,
    title: 'Node with bounds checks',
  },
  {
    name: 'guard-pages-no-vnni',
    guard: 'guard-pages',
    nodeFlags: [NO_VNNI],
    isVnniAllowed: false,
    title: 'Node as it is, AVX-VNNI off',
  },
  {
    name: 'bounds-checks-no-vnni',
    guard: 'bounds-checks',
    nodeFlags: [BOUNDS_CHECKS, NO_VNNI],
    isVnniAllowed: false,
    title: 'Node with bounds checks, AVX-VNNI off',
  },
]

export function conditionNamed(name: string): Condition {
  const found = CONDITIONS.find((condition) => condition.name === name)
  if (!found) throw new Error(`condition: expected ${CONDITIONS.map((each) => each.name).join(', ')}, got ${name}`)
  return found
}
