// `npm run bench -- report <file>`: tables and pictures from JSON lines that the benches wrote. Tables go to standard output,
// as Markdown; with --docs also between the markers of docs/performance.md, and the pictures to docs/plots/.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { linesOf, parseLines } from './encoders/lines.ts'
import { profileReport } from './encoders/report-profile.ts'
import { encoderReport } from './encoders/report-tables.ts'
import { stageBars } from './plots/stage-bars.ts'
import { writePng } from './plots/svg.ts'
import { tokenCurve } from './plots/token-curve.ts'

const DOC = 'docs/performance.md'
const DOC_PLOTS = 'docs/plots'
const PLOTS = 'build/bench/plots'
const [BEGIN, END] = ['<!-- figures: begin -->', '<!-- figures: end -->']

const { positionals, values } = parseArgs({ allowPositionals: true, options: { docs: { type: 'boolean' } } })
const [file] = positionals
if (file === undefined) {
  console.error('usage: npm run bench -- report <file of JSON lines> [--docs]')
  process.exitCode = 1
} else {
  await report(file, values.docs ?? false)
}

async function report(path: string, isForDocs: boolean): Promise<void> {
  const lines = parseLines(readFileSync(path, 'utf8'))
  const tables = [encoderReport(lines), profileReport(lines)].filter((text) => text !== '').join('\n\n')
  console.log(tables)
  const folder = isForDocs ? DOC_PLOTS : PLOTS
  for (const [name, svg] of stageBars(lines)) {
    await draw(join(folder, `stages-${name.replaceAll(/[^a-z0-9]+/g, '-')}.png`), svg)
  }
  if (linesOf(lines, 'tokens').length > 0) await draw(join(folder, 'tokens.png'), tokenCurve(lines))
  if (isForDocs) writeFileSync(DOC, withFigures(readFileSync(DOC, 'utf8'), tables))
}

async function draw(path: string, svg: string): Promise<void> {
  await writePng(path, svg)
  console.error(path)
}

function withFigures(document: string, tables: string): string {
  const [before, rest] = document.split(BEGIN)
  const after = rest?.split(END)[1]
  if (before === undefined || after === undefined) throw new Error(`${DOC}: expected the markers ${BEGIN} and ${END}`)
  return `${before}${BEGIN}\n\n${tables}\n\n${END}${after}`
}
