// A progress bar for a person, a line every tenth for a log file.

import cliProgress from 'cli-progress'

export interface Progress {
  readonly update: (done: number) => void
  readonly stop: () => void
}

export function startProgress(label: string, total: number): Progress {
  if (!process.stderr.isTTY) return startLines(label, total)
  const format = `${label} [{bar}] {percentage}% | {value}/{total} | {eta} s left`
  const bar = new cliProgress.SingleBar({ format, hideCursor: true }, cliProgress.Presets.shades_classic)
  bar.start(total, 0)
  return { update: (done) => bar.update(done), stop: () => bar.stop() }
}

function startLines(label: string, total: number): Progress {
  let printed = 0
  const update = (done: number): void => {
    const tenth = Math.floor((10 * done) / total)
    if (tenth === printed) return
    printed = tenth
    console.error(`${label} ${done}/${total}`)
  }
  return { update, stop: () => undefined }
}
