// Writes an object that a row is then to name. Whatever breaks in between, nothing stays behind: the key is in the trash
// from before the first byte, and naming it takes it out again.

import type { UnnamedObjects } from '../jobs/ports.ts'

/** Longer than any upload or concatenation takes. */
const KEEP_MS = 24 * 3_600_000

/**
 * @param write puts the object under `key`
 * @param name makes the row that names it; may refuse what was written
 */
export async function writeThenName<Written, Named>(
  broker: UnnamedObjects,
  key: string,
  write: () => Promise<Written>,
  name: (written: Written) => Promise<Named>,
): Promise<Named> {
  await broker.announceObjects([key], KEEP_MS)
  try {
    return await name(await write())
  } catch (error) {
    // The broker leaves alone what was named after all, its answer lost. If it cannot be told, the announcement runs out.
    await broker.discardObjects([key]).catch(() => undefined)
    throw error
  }
}
