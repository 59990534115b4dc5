// Progress of an evaluation: a bar for a person, lines for a log, nothing for a handful of items.
import { startProgress, type Progress } from '../data/progress.ts'

/** Below this many items every step here takes less than five seconds. */
const SILENT_BELOW = 400

export function startLongProgress(label: string, total: number): Progress {
  return total < SILENT_BELOW ? { update: () => undefined, stop: () => undefined } : startProgress(label, total)
}
