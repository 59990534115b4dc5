// The encoder bench in its shortest form, so that it cannot rot: the embedded model, one round, no rivals, with workerd.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { linesOf, parseLines } from '../../bench/encoders/lines.ts'

const FLAGS = [
  '--package',
  'default=models/flava-emoji',
  '--variants',
  'default,simd128',
  '--no-peers',
  '--rounds',
  '1',
]

test('one round without rivals prints a line a contestant, shape and condition, ours in workerd included', async () => {
  const args = ['bench/encoders.ts', ...FLAGS, '--shapes', 'text8,image64', '--json']
  const conditions = ['--conditions', 'guard-pages,bounds-checks']
  const { stdout } = await promisify(execFile)(process.execPath, [...args, ...conditions])
  const lines = parseLines(stdout)
  const names = linesOf(lines, 'encoders').map(({ variant, runtime, condition, shape }) => {
    return [variant, runtime, condition, shape].join(' ')
  })
  const inNode = ['default node', 'simd128 node'].flatMap((name) =>
    ['guard-pages', 'bounds-checks'].flatMap((condition) => [
      `${name} ${condition} text8`,
      `${name} ${condition} image64`,
    ]),
  )
  const inWorkerd = ['default workerd bounds-checks text8', 'default workerd bounds-checks image64']
  expect(new Set(names)).toEqual(new Set([...inNode, ...inWorkerd]))
  // A time in workerd is the difference of two requests, whose minimum would be the luckiest noise.
  for (const { runtime, minMs } of [...linesOf(lines, 'encoders'), ...linesOf(lines, 'encoder-service')]) {
    expect(minMs === undefined).toBe(runtime === 'workerd')
  }
  expect(linesOf(lines, 'workerd-ratios')).toHaveLength(4)
  expect(linesOf(lines, 'machine')).toHaveLength(1)
  expect(linesOf(lines, 'encoder-checks').every(({ cosine }) => cosine === 1)).toBe(true)
}, 180_000)

test('an unknown shape is refused with the ones there are', async () => {
  const args = ['bench/encoders.ts', ...FLAGS, '--shapes', 'text4096']
  await expect(promisify(execFile)(process.execPath, args)).rejects.toThrow(/expected text1 to text\d+ or image64/)
})
