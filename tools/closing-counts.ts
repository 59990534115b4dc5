// Reads the counts that the test runners print when they close, so that `npm test` can repeat and add them up.

export interface ClosingCounts {
  /** The runner's own closing lines, as it printed them. */
  lines: readonly string[]
  passed: number
  failed: number
  skipped: number
}

/** A runner that dies before it counts is one failure, so that a sum never hides it. */
const DIED: ClosingCounts = { lines: [], passed: 0, failed: 1, skipped: 0 }

// eslint-disable-next-line no-control-regex -- the escape character is what marks a colour code
const ANSI_CODE = /\u001b\[[0-9;]*m/g

/**
 * Vitest's summary block. Failures that belong to no test count too: files that could not be loaded (so there are at
 * least as many failures as failed files) and errors outside of any test.
 */
export function vitestCounts(output: string): ClosingCounts {
  const lines = plainLines(output)
  const filesLine = lines.findLast((line) => /^\s*Test Files {2}/.test(line))
  const testsLine = lines.findLast((line) => /^\s*Tests {2}/.test(line))
  const errorsLine = lines.findLast((line) => /^\s*Errors {2}\d/.test(line))
  if (filesLine === undefined || testsLine === undefined) return DIED
  return {
    lines: [filesLine, testsLine, ...(errorsLine === undefined ? [] : [errorsLine])],
    passed: countOf(testsLine, 'passed'),
    failed: Math.max(countOf(testsLine, 'failed'), countOf(filesLine, 'failed')) + countOf(errorsLine ?? '', 'errors?'),
    skipped: countOf(testsLine, 'skipped') + countOf(testsLine, 'todo'),
  }
}

/** Pytest's last line, with or without its frame of equals signs. Errors in set-up or collection count as failures. */
export function pytestCounts(output: string): ClosingCounts {
  const line = plainLines(output).findLast((candidate) =>
    /\b(?:\d+ [a-z]+|no tests ran)\b.* in [\d.]+s/.test(candidate),
  )
  if (line === undefined) return DIED
  return {
    lines: [line],
    passed: countOf(line, 'passed') + countOf(line, 'xpassed'),
    failed: countOf(line, 'failed') + countOf(line, 'errors?'),
    skipped: countOf(line, 'skipped') + countOf(line, 'xfailed'),
  }
}

/** `tests: 12 passed, 0 failed`, with `, 3 skipped` only when something was. */
export function sumLine(all: readonly ClosingCounts[]): string {
  const total = (key: 'passed' | 'failed' | 'skipped') => all.reduce((sum, counts) => sum + counts[key], 0)
  const skipped = total('skipped')
  return `tests: ${total('passed')} passed, ${total('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

function plainLines(output: string): string[] {
  return output.replaceAll(ANSI_CODE, '').split(/\r?\n/)
}

function countOf(line: string, word: string): number {
  return Number(new RegExp(`(\\d+) ${word}\\b`).exec(line)?.[1] ?? 0)
}
