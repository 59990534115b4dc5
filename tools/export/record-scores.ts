// Puts saved scores where a package's readers look: the card's section, and parity.json. Scores of other weights stay out,
// since they would pass for this package's.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readSavedScores } from '../eval/scores-file.ts'
import { writeWhole } from './install-package.ts'
import { CARD_FILE, CONFUSIONS_FILE, withScores, withTargets } from './model-card.ts'
import { PARITY_FILE, readParityReport } from './parity-report.ts'

/** Does nothing to a package without a parity report or a card. */
export async function recordScores(packageDir: string): Promise<void> {
  const saved = await readSavedScores(packageDir)
  if (saved === null || !existsSync(join(packageDir, PARITY_FILE))) return
  const report = await readParityReport(packageDir)
  if (report.weights !== saved.weights) return
  const retrieval = { dev: report.retrieval?.dev ?? null, saved: saved.rows }
  await writeWhole(join(packageDir, PARITY_FILE), `${JSON.stringify({ ...report, retrieval }, null, 2)}\n`)
  const cardPath = join(packageDir, CARD_FILE)
  if (!existsSync(cardPath)) return
  const card = withScores(await readFile(cardPath, 'utf8'), saved.rows)
  const hasConfusions = existsSync(join(packageDir, CONFUSIONS_FILE))
  await writeWhole(cardPath, saved.targets === null ? card : withTargets(card, saved.targets, hasConfusions))
}
