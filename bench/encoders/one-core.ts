// Starts a bench over again on one core, where the machine can pin processes.
import { runForeground } from '../../tools/foreground.mjs'
import { pinnedCore } from './job.ts'

const MARK = 'FLAVA_BENCH_CORE'

/** True when the bench has just run in a pinned process; false in that process, and where nothing can be pinned. */
export async function runOnOneCore(): Promise<boolean> {
  if (process.env[MARK] !== undefined) return false
  const core = pinnedCore()
  if (core === undefined) return false
  const args = ['-c', core, process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  await runForeground('taskset', args, { cwd: process.cwd(), env: { ...process.env, [MARK]: core } })
  return true
}
