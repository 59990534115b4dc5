// What kinds of work go through the queue, how urgent each is, and what it needs of a worker.

/** Interactive kinds have somebody waiting at the other end of an HTTP request. */
export const INTERACTIVE_KINDS = [
  'multimodal.embeddings',
  'multimodal.match',
  'multimodal.fill_mask',
  'multimodal.classify',
] as const
export type InteractiveKind = (typeof INTERACTIVE_KINDS)[number]

export const JOB_KINDS = [...INTERACTIVE_KINDS, 'batch', 'fine_tuning'] as const
export type JobKind = (typeof JOB_KINDS)[number]

/** Parts of a checkpoint that were trained; a route asks for the one it answers from. */
export const HEADS = [
  'contrastive',
  'itm',
  'mmm_text',
  'mmm_image',
  'mlm',
  'mim',
  'classification',
  'regression',
] as const
export type Head = (typeof HEADS)[number]

/** Lower goes first. */
export function priorityOf(kind: JobKind): number {
  if (isInteractive(kind)) return 0
  return kind === 'batch' ? 1 : 2
}

export function isInteractive(kind: JobKind): kind is InteractiveKind {
  return INTERACTIVE_KINDS.some((interactive) => interactive === kind)
}

/** Attempts before a job is dead: a person waits for the first, days of work hang on the last. */
export function maxAttemptsOf(kind: JobKind): number {
  return isInteractive(kind) ? 3 : 5
}

/** How long a job may run in all, unless its owner says less: seconds. */
export function maxRuntimeSecondsOf(kind: JobKind): number {
  if (isInteractive(kind)) return 120
  return kind === 'batch' ? 24 * 3600 : 7 * 24 * 3600
}
