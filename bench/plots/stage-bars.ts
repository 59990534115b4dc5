// The stage profile as stacked bars: one bar a shape, as shares of its time, which stands above it in milliseconds.
import { linesOf } from '../encoders/lines.ts'
import type { BenchLine } from '../encoders/lines.ts'
import { profileName } from '../encoders/report-profile.ts'
import { colour, document, legend, rect, text, valueAxis, valueY } from './svg.ts'
import type { Frame } from './svg.ts'

const FRAME: Frame = { width: 860, height: 480, left: 60, right: 250, top: 70, bottom: 50 }
const BAR_SHARE = 0.6
/** A thinner part has no room for its percentage. */
const MIN_LABEL_SHARE = 0.04

/** One picture a package and condition, by the name that the tables give it. */
export function stageBars(lines: readonly BenchLine[]): Map<string, string> {
  const stages = linesOf(lines, 'stages')
  // All pictures share one order of stages, so that a colour means the same in each.
  const order = [...new Set(stages.map(({ stage }) => stage))]
  const names = [...new Set(stages.map(profileName))]
  return new Map(
    names.map((name) => {
      const rows = stages.filter((line) => profileName(line) === name)
      const shapes = [...new Set(rows.map(({ shape }) => shape))]
      const columnWidth = (FRAME.width - FRAME.left - FRAME.right) / shapes.length
      const bars = shapes.flatMap((shape, index) => {
        const parts = order.map(
          (stage) => rows.find((row) => row.shape === shape && row.stage === stage)?.medianMs ?? 0,
        )
        return bar(parts, shape, FRAME.left + index * columnWidth, columnWidth)
      })
      const key = legend(FRAME.width - FRAME.right + 20, FRAME.top + 10, order, 'upwards')
      return [name, document(FRAME, `Time by stage: ${name}`, [...valueAxis(FRAME, 100, ' %'), ...bars, ...key])]
    }),
  )
}

function bar(parts: readonly number[], shape: string, left: number, columnWidth: number): string[] {
  const total = parts.reduce((sum, part) => sum + part, 0)
  const [x, width] = [left + (columnWidth * (1 - BAR_SHARE)) / 2, columnWidth * BAR_SHARE]
  const middle = left + columnWidth / 2
  let below = 0
  const pieces = parts.flatMap((part, index) => {
    const share = part / total
    const [bottom, top] = [valueY(FRAME, 100 * below, 100), valueY(FRAME, 100 * (below + share), 100)]
    below += share
    const label = text(middle, (bottom + top) / 2 + 4, `${(100 * share).toFixed(0)} %`, { anchor: 'middle', size: 11 })
    return [rect(x, top, width, bottom - top, colour(index)), ...(share >= MIN_LABEL_SHARE ? [label] : [])]
  })
  const under = text(middle, FRAME.height - FRAME.bottom + 20, shape, { anchor: 'middle', weight: 'bold' })
  const above = text(middle, FRAME.top - 8, `${total.toFixed(1)} ms`, { anchor: 'middle' })
  return [...pieces, under, above]
}
