// What an engine under evaluation is: items in, unit vectors out. Knows nothing of splits or scores.

export type EngineName = 'edge' | 'torch'

/** Distinct items of every chosen split. */
export interface EmbeddingRequest {
  texts: readonly string[]
  /** Paths of image files. */
  images: readonly string[]
}

/** One f32 vector of length 1 per item, in the request's order. */
export interface Embeddings {
  texts: readonly Float32Array[]
  images: readonly Float32Array[]
}

export type Engine = (request: EmbeddingRequest) => Promise<Embeddings>
