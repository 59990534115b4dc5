// Milliseconds by tokens, one series a package, with the straight line through each.
import { linesOf } from '../encoders/lines.ts'
import type { BenchLine } from '../encoders/lines.ts'
import { tokenFits } from '../encoders/report-profile.ts'
import { circle, colour, document, legend, line, text, valueAxis, valueY } from './svg.ts'
import type { Frame } from './svg.ts'

const FRAME: Frame = { width: 860, height: 480, left: 70, right: 40, top: 60, bottom: 60 }
const TICK_TOKENS = 8

export function tokenCurve(lines: readonly BenchLine[]): string {
  const points = linesOf(lines, 'tokens')
  const maxMs = Math.max(...points.map(({ medianMs }) => medianMs)) * 1.08
  const maxTokens = Math.max(...points.map(({ tokens }) => tokens))
  const x = (tokens: number) => FRAME.left + ((FRAME.width - FRAME.left - FRAME.right) * tokens) / maxTokens
  const y = (ms: number) => valueY(FRAME, ms, maxMs)
  const fits = [...tokenFits(lines)]
  const series = fits.flatMap(([variant, { slope, intercept }], index) => [
    line(x(0), y(Math.max(0, intercept)), x(maxTokens), y(intercept + slope * maxTokens), colour(index)),
    ...points
      .filter((point) => point.variant === variant)
      .map((point) => circle(x(point.tokens), y(point.medianMs), colour(index))),
  ])
  const ticks = Array.from({ length: Math.floor(maxTokens / TICK_TOKENS) + 1 }, (_, index) => index * TICK_TOKENS)
  const axis = [
    ...ticks.map((tick) => text(x(tick), FRAME.height - FRAME.bottom + 20, String(tick), { anchor: 'middle' })),
    text(x(maxTokens / 2), FRAME.height - 14, 'tokens of one text, [CLS] and [SEP] included', { anchor: 'middle' }),
  ]
  const names = fits.map(
    ([variant, { slope, intercept, r2 }]) =>
      `${variant}: ${intercept.toFixed(1)} ms + ${slope.toFixed(3)} ms a token, R² ${r2.toFixed(4)}`,
  )
  const key = legend(FRAME.left + 16, FRAME.top + 30, names, 'downwards')
  return document(FRAME, 'Cost of a text by its tokens', [
    ...valueAxis(FRAME, maxMs, ' ms'),
    ...series,
    ...axis,
    ...key,
  ])
}
