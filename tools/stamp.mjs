// Content stamps: remembers which version of an input file (a lockfile) an installed folder was made from.
// Plain JavaScript without packages, since the bootstrap uses it before node_modules exists.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * The stamp of some input files, optionally bound to further facts such as an interpreter's version.
 * @param {readonly string[]} paths files whose bytes decide the stamp
 * @param {readonly string[]} [facts]
 * @returns {string} 64 hex digits
 */
export function contentStamp(paths, facts = []) {
  const hash = createHash('sha256')
  for (const path of paths) hash.update(readFileSync(path)).update('\0')
  for (const fact of facts) hash.update(fact).update('\0')
  return hash.digest('hex')
}

/**
 * Whether `stampPath` holds `stamp`. A missing stamp file is simply not current.
 * @param {string} stampPath
 * @param {string} stamp
 */
export function isStampCurrent(stampPath, stamp) {
  try {
    return readFileSync(stampPath, 'utf8').trim() === stamp
  } catch {
    return false
  }
}

/**
 * Records that what `stampPath` lies in was made from inputs with this stamp. Written last, after the work succeeded.
 * @param {string} stampPath
 * @param {string} stamp
 */
export function writeStamp(stampPath, stamp) {
  writeFileSync(stampPath, `${stamp}\n`)
}
