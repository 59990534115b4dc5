// The machine line: what a figure is worthless without.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { z } from 'zod'
import { pinnedCore } from './job.ts'
import type { LineOf } from './lines.ts'

export function machineLine(geometry: string, versions: Record<string, string> = {}): LineOf<'machine'> {
  return {
    bench: 'machine',
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    core: pinnedCore() ?? 'any',
    node: process.version,
    v8: process.versions.v8,
    versions: { workerd: packageVersion('workerd'), ...versions },
    date: new Date().toISOString(),
    commit: commit(),
    geometry,
    command: process.argv
      .slice(1)
      .map((word) => word.replace(`${process.cwd()}/`, ''))
      .join(' '),
  }
}

function packageVersion(name: string): string {
  const path = createRequire(import.meta.url).resolve(`${name}/package.json`)
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(path, 'utf8'))).version
}

/** The commit, and whether files differ from it; a copy without .git has neither. */
function commit(): string {
  const git = (...args: string[]) => spawnSync('git', args, { encoding: 'utf8' })
  const { status, stdout } = git('rev-parse', '--short', 'HEAD')
  if (status !== 0) return 'unknown'
  return `${stdout.trim()}${git('status', '--porcelain', '-uno').stdout === '' ? '' : ' with changes'}`
}
