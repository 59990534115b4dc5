import { expect, test } from 'vitest'
import { parseLines } from '../../bench/encoders/lines.ts'
import type { BenchLine } from '../../bench/encoders/lines.ts'
import { targetRows } from '../../bench/encoders/targets.ts'

const encoders = {
  bench: 'encoders',
  engine: 'flava-edge',
  variant: 'default',
  runtime: 'node',
  condition: 'bounds-checks',
  shape: 'text16',
  medianMs: 20.5,
  minMs: 19,
  rounds: 15,
}

test('lines are read back; other benches, tables and blank lines between them are passed over', () => {
  const text = [JSON.stringify(encoders), '', '| a table |', '{"bench":"memory","worker":"text"}'].join('\n')
  expect(parseLines(text)).toEqual([encoders])
})

test('a line of a known bench that lacks a field is refused', () => {
  expect(() => parseLines(JSON.stringify({ ...encoders, medianMs: undefined }))).toThrow('medianMs')
  expect(() => parseLines(JSON.stringify({ ...encoders, condition: 'guards' }))).toThrow('condition')
})

function ratio(shape: string, value: number): BenchLine {
  return {
    bench: 'encoder-ratios',
    condition: 'bounds-checks',
    shape,
    work: 'hidden',
    variant: 'default',
    against: 'onnxruntime-web int8',
    ratio: value,
    rounds: 15,
  }
}

test('a target is judged by its worst shape, and says so when nothing was measured', () => {
  const [bounds, small] = targetRows([ratio('text16', 3.2), ratio('image224', 2.1), ratio('text77', 3.1)], '')
  expect(bounds?.got).toBe('image224 2.10×, text77 3.10×, text16 3.20×')
  expect(bounds?.verdict).toBe('missed')
  expect(small?.verdict).toBe('not measured')
})

test('a target between must and aim is met, above the aim too', () => {
  expect(targetRows([ratio('text16', 2.5)], '')[0]?.verdict).toBe('must met')
  expect(targetRows([ratio('text16', 3)], '')[0]?.verdict).toBe('aim met')
})

test('workerd by Node is better the smaller it is', () => {
  const line = (value: number): BenchLine => {
    return { bench: 'workerd-ratios', shape: 'text16', work: 'hidden', variant: 'default', ratio: value, rounds: 15 }
  }
  const verdict = (value: number) => targetRows([line(value)], '').at(-1)?.verdict
  expect([verdict(1.02), verdict(1.08), verdict(1.2)]).toEqual(['aim met', 'must met', 'missed'])
})

test('the share of the peak takes the whole encoder, and the fused idiom only where it is one instruction', () => {
  const peak = (idiom: string, gmacs: number): BenchLine => {
    return { bench: 'instruction-peak', condition: 'guard-pages', idiom, gmacs, bestGmacs: gmacs }
  }
  const lines: BenchLine[] = [
    peak('i32x4.relaxed_dot_i8x16_i7x16_add_s', 200),
    peak('i16x8.relaxed_dot + i16x8.add', 100),
    { bench: 'encoder-work', shape: 'image224', macs: 10e9 },
    ...parseLines(
      JSON.stringify({ ...encoders, variant: 'small', shape: 'image224', condition: 'guard-pages', medianMs: 125 }),
    ),
  ]
  const share = (dotKind: string) =>
    targetRows([...lines, { bench: 'dot-kind', condition: 'guard-pages', dotKind }], '').at(-2)?.got
  expect(share('pairs')).toBe('of 100 GMAC/s: image224 80 %')
  expect(share('fused')).toBe('of 200 GMAC/s: image224 40 %')
})
