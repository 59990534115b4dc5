// What an export says at its end: a package that was allowed is called what it is.
import { afterEach, expect, test, vi } from 'vitest'
import { printResult } from '../../../tools/export/print-result.ts'
import { tinyReport } from './tiny-parity.ts'

afterEach(() => vi.restoreAllMocks())

function printed(parity: ReturnType<typeof tinyReport>, isWritten: boolean): string[] {
  const lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.push(line.trim()))
  printResult({ out: 'build/tiny', parity, isWritten })
  return lines
}

function unfit(): ReturnType<typeof tinyReport> {
  const parity = tinyReport()
  const { edge } = parity
  return { ...parity, edge: { ...edge, isFitting: false, text: { ...edge.text, memoryBytes: null } } }
}

test('an unfit package that was allowed is not said to be below its gate', () => {
  expect(printed(unfit(), true)).toEqual([expect.stringMatching(/^allowed: text: does not fit a Worker/)])
})

test('a package below its gate that was allowed is said to be', () => {
  const below = tinyReport({ all: { count: 208, mean: 0.9, p1: 0.9, min: 0.9 } })
  expect(printed(below, true)).toContain('below its gate, allowed: text: mean cosine: expected at least 0.998, got 0.9')
})

test('both are refusals when nothing was written', () => {
  const [reason] = printed(unfit(), false)
  expect(reason).toMatch(/^refused: text: does not fit a Worker/)
})
