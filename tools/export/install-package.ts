// Moves a finished package into its place so that a reader never takes half of it for a whole.
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

/** Names every other file with its hash, so it comes last: until then the old one refuses the new files. */
const LAST = 'config.json'
/** What format 1 kept both encoders in. */
const OBSOLETE = ['model.safetensors']

/**
 * A new folder appears whole. In one that is there, files are replaced one by one, each at once and config.json last;
 * a process that dies in between leaves hashes that do not match, which every reader refuses. Other files stay.
 */
export async function installPackage(staged: string, out: string): Promise<void> {
  const target = resolve(out)
  await mkdir(dirname(target), { recursive: true })
  const names = (await readdir(staged)).toSorted((a, b) => Number(a === LAST) - Number(b === LAST))
  // In the same folder as the target: renaming does not cross file systems.
  const beside = await mkdtemp(join(dirname(target), `.${basename(target)}-`))
  await chmod(beside, 0o755)
  try {
    for (const name of names) await copyFile(join(staged, name), join(beside, name))
    if (!existsSync(target)) {
      await rename(beside, target)
      return
    }
    for (const name of names) await rename(join(beside, name), join(target, name))
    for (const name of OBSOLETE) await rm(join(target, name), { force: true })
  } finally {
    await rm(beside, { recursive: true, force: true })
  }
}

/** Writes a file that is never seen half-written. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const unfinished = join(dirname(path), `.${basename(path)}-${process.pid}`)
  await writeFile(unfinished, text)
  await rename(unfinished, path)
}
