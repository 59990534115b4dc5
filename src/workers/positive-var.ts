// A limit from a Worker's environment variables. A limit that cannot be read must not turn into none.

import { MisconfiguredError } from '../errors.ts'

/** @throws MisconfiguredError naming the variable */
export function readPositiveVar(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new MisconfiguredError(`${name}: expected a whole number above zero`)
}
