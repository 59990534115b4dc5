// The table that `npm run check` and `npm test` print at their end: one line a stage with its result and its seconds.

export interface StageResult {
  name: string
  isOk: boolean
  seconds: number
}

export function stageTable(results: readonly StageResult[]): string {
  const width = Math.max(...results.map(({ name }) => name.length))
  return results
    .map(
      ({ name, isOk, seconds }) =>
        `${name.padEnd(width)}  ${isOk ? 'ok    ' : 'FAILED'}  ${seconds.toFixed(1).padStart(7)} s`,
    )
    .join('\n')
}
