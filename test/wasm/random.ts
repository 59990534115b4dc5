// Seeded numbers for kernel tests.

/** Uniform in [0, 1): mulberry32. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** f32 [length], roughly normal: mean 0, the given standard deviation. */
export function randomNormal(seed: number, length: number, deviation = 1): Float32Array {
  const random = createRandom(seed)
  return Float32Array.from({ length }, () => {
    // The sum of 12 uniforms has variance 1.
    let sum = -6
    for (let i = 0; i < 12; i++) sum += random()
    return sum * deviation
  })
}

/** i8 [length], uniform in [-limit, limit]. */
export function randomInt8(seed: number, length: number, limit: number): Int8Array {
  const random = createRandom(seed)
  return Int8Array.from({ length }, () => Math.floor(random() * (2 * limit + 1)) - limit)
}
