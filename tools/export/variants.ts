// The packages that are made of a checkpoint, and what each has to reach before it is published.
// gpu/flava_gpu/variants.py says which schemes they are stored in.

export const VARIANTS = ['default', 'small', 'w7', 'w8'] as const
export type Variant = (typeof VARIANTS)[number]

export interface ParityLimits {
  /** Least mean cosine of projected vectors to fp32, for texts and for pictures. */
  meanCosine: number
  /** Least cosine that 99 % of the inputs reach; null: not asked. */
  p1Cosine: number | null
  /** Points of R@1 that quantization may cost. */
  retrievalPoints: number
}

const LIMITS: Record<Variant, ParityLimits> = {
  default: { meanCosine: 0.998, p1Cosine: 0.996, retrievalPoints: 0.5 },
  small: { meanCosine: 0.988, p1Cosine: 0.98, retrievalPoints: 1.5 },
  w7: { meanCosine: 0.998, p1Cosine: null, retrievalPoints: 0.5 },
  w8: { meanCosine: 0.999, p1Cosine: null, retrievalPoints: 0.5 },
}

/** Limits of a variant by the name a package gives; one that is not known here is held to the default's. */
export function limitsOf(variant: string): ParityLimits {
  const known = VARIANTS.find((name) => name === variant)
  return LIMITS[known ?? 'default']
}

/** `models/flava-emoji` for the default package, `models/flava-emoji-small` for the small one. */
export function packageFolderOf(base: string, variant: Variant): string {
  return variant === 'default' ? base : `${base}-${variant}`
}
