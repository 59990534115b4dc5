// Bundles a Worker of the tests as wrangler would deploy it, offline.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { runCommand } from '../../tools/run-command.ts'
import { OFFLINE_ENV, WRANGLER_PATH } from '../../tools/wrangler.ts'

/**
 * @param name of a file beside this one, without its ending, and of its wrangler file
 * @returns the script
 */
export async function bundleWorker(name: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'flava-bundle-'))
  try {
    const config = resolve(import.meta.dirname, `${name}.toml`)
    const args = ['deploy', '--dry-run', '-c', config, '--outdir', directory]
    const { exitCode, output } = await runCommand(process.execPath, [WRANGLER_PATH, ...args], { env: OFFLINE_ENV })
    if (exitCode !== 0) throw new Error(`${config}: wrangler could not bundle it\n${output}`)
    return readFileSync(join(directory, `${name}.js`), 'utf8')
  } finally {
    rmSync(directory, { recursive: true })
  }
}
