// Unit length, the last step of a retrieval embedding; apart from the encoders, since callers may ask for raw vectors.

/** torch.nn.functional.normalize's eps: a zero vector stays zero instead of turning into NaN. */
const MIN_NORM = 1e-12

/** vector: f32 [hiddenSize] -> f32 [hiddenSize] of L2 norm 1, summed in f64; a new array. */
export function l2Normalize(vector: Float32Array): Float32Array {
  let sumOfSquares = 0
  for (const value of vector) sumOfSquares += value * value
  const norm = Math.max(Math.sqrt(sumOfSquares), MIN_NORM)
  return vector.map((value) => value / norm)
}
