// A progress bar in mebibytes on standard error, so that standard output stays JSON; silent where nobody watches.
import { Presets, SingleBar } from 'cli-progress'

const MIB = 1024 * 1024

export interface ByteProgress {
  add: (count: number) => void
  stop: () => void
}

export function startProgress(label: string, totalBytes: number): ByteProgress {
  const format = `${label} {bar} {percentage}% {value}/{total} MiB, {eta_formatted} left`
  const bar = new SingleBar({ format, hideCursor: true, stream: process.stderr }, Presets.shades_classic)
  bar.start(Math.ceil(totalBytes / MIB), 0)
  let doneBytes = 0
  return {
    add: (count) => {
      doneBytes += count
      bar.update(Math.min(Math.ceil(totalBytes / MIB), Math.floor(doneBytes / MIB)))
    },
    stop: () => bar.stop(),
  }
}
