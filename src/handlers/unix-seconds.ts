// Times as OpenAI's objects tell them.

/** Whole seconds since 1970 of milliseconds since 1970. */
export function toSeconds<Ms extends number | null>(ms: Ms): Ms extends null ? null : number
export function toSeconds(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms / 1000)
}
