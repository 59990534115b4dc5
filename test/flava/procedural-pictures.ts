// Pictures made of integers only: the twin of gpu/flava_gpu/procedural_pictures.py, which explains the numbers.
// A committed sha256 over all pictures tells the two apart when they drift; change both or neither.

const LCG_MULTIPLIER = 1664525
const LCG_INCREMENT = 1013904223
const SEED_STEP = 2654435761

type Color = readonly [number, number, number]

interface IntegerRandom {
  below(limit: number): number
}

/** u8 [count, size, size, 3]. */
export function proceduralPictures(count: number, size: number): Uint8Array {
  const pictures = new Uint8Array(count * size * size * 3)
  for (let index = 0; index < count; index += 1) {
    drawPicture(index, size, pictures.subarray(index * size * size * 3, (index + 1) * size * size * 3))
  }
  return pictures
}

function drawPicture(index: number, size: number, picture: Uint8Array): void {
  const random = createIntegerRandom(index)
  drawBackground(index % 4, random, size, picture)
  const shapes = 1 + random.below(6)
  for (let shape = 0; shape < shapes; shape += 1) {
    const isInside = shapePredicate(random, size)
    const color = randomColor(random)
    for (let y = 0; y < size; y += 1) {
      for (let x = 0; x < size; x += 1) if (isInside(x, y)) picture.set(color, (y * size + x) * 3)
    }
  }
}

function createIntegerRandom(seed: number): IntegerRandom {
  let state = (Math.imul(seed, SEED_STEP) + 1) >>> 0
  return {
    below(limit) {
      state = (Math.imul(state, LCG_MULTIPLIER) + LCG_INCREMENT) >>> 0
      return (state >>> 8) % limit
    },
  }
}

function randomColor(random: IntegerRandom): Color {
  return [random.below(256), random.below(256), random.below(256)]
}

function drawBackground(kind: number, random: IntegerRandom, size: number, picture: Uint8Array): void {
  if (kind === 0) picture.fill(255)
  else if (kind === 1) fillWith(picture, randomColor(random))
  else if (kind === 2) drawGradient(random, size, picture)
  else picture.forEach((_, at) => (picture[at] = random.below(256)))
}

function fillWith(picture: Uint8Array, color: Color): void {
  for (let at = 0; at < picture.length; at += 3) picture.set(color, at)
}

function drawGradient(random: IntegerRandom, size: number, picture: Uint8Array): void {
  const start = randomColor(random)
  const end = randomColor(random)
  const direction = random.below(3)
  const last = size - 1
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      const position = [x, y, (x + y) >> 1][direction] ?? 0
      const mixed = start.map((first, at) => Math.floor((first * (last - position) + (end[at] ?? 0) * position) / last))
      picture.set(mixed, (y * size + x) * 3)
    }
  }
}

function shapePredicate(random: IntegerRandom, size: number): (x: number, y: number) => boolean {
  const kind = random.below(4)
  const centerX = random.below(size)
  const centerY = random.below(size)
  const extent = 3 + random.below(Math.floor(size / 3))
  const squared = (x: number, y: number) => (x - centerX) ** 2 + (y - centerY) ** 2
  if (kind === 0) return (x, y) => Math.abs(x - centerX) < extent && Math.abs(y - centerY) * 2 < extent * 3
  if (kind === 1) return (x, y) => squared(x, y) < extent ** 2
  if (kind === 2) return (x, y) => squared(x, y) < extent ** 2 && squared(x, y) * 4 > extent ** 2
  return (x, y) => (x + 2 * y + centerX) % (extent + 4) < 2
}
