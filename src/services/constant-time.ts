// Compares digests of secrets in a time that tells nothing of how near a guess came.

/** Both in hex; digests of one kind are equally long, and are compared to their end. */
export function equalsInConstantTime(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let i = 0; i < Math.min(a.length, b.length); i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
