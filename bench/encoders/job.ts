// What one process of a bench is told to do, and how such a process is started: with its condition's flags, on one core.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import type { Condition } from './conditions.ts'
import { parseLines } from './lines.ts'
import type { BenchLine } from './lines.ts'

export const jobSchema = z.object({
  condition: z.string(),
  modality: z.enum(['text', 'image']),
  packages: z.array(
    z.object({
      variant: z.string(),
      directory: z.string(),
      build: z.enum(['relaxed-simd', 'simd128']).exactOptional(),
    }),
  ),
  shapes: z.array(z.string()),
  rounds: z.int().positive(),
  hasRivals: z.boolean(),
  hasWorkerd: z.boolean(),
  hasPeaks: z.boolean(),
})

export type Job = z.infer<typeof jobSchema>

/** The core that everything of a bench is pinned to, or nothing where that cannot be done. */
export function pinnedCore(): string | undefined {
  // The last one: the first has most of the machine's interrupts.
  const core = String(availableParallelism() - 1)
  const canPin = process.platform === 'linux' && spawnSync('taskset', ['-c', core, 'true']).status === 0
  return canPin ? core : undefined
}

/**
 * Runs a script in a Node of its own and passes on its lines as they come.
 * @throws Error when it fails; what it says about that is on standard error by then
 */
export async function runProcess(
  script: string,
  args: readonly string[],
  condition: Condition,
  onLine: (line: BenchLine) => void,
): Promise<void> {
  const core = pinnedCore()
  const node = [process.execPath, '--max-old-space-size=8192', ...condition.nodeFlags, script, ...args]
  const [command = '', ...rest] = core === undefined ? node : ['taskset', '-c', core, ...node]
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  for await (const text of createInterface({ input: child.stdout })) {
    for (const line of parseLines(text)) onLine(line)
  }
  const [exitCode] = await closed
  if (exitCode !== 0) throw new Error(`${script}, ${condition.name}: ended with ${String(exitCode)}`)
}
