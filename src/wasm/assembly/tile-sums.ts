// The f32 side that all integer tiles share: what a tile has summed up over its groups so far, in memory, since eight more vectors
// would not fit the registers.

export class TileSums {
  /** Zeros for a tile of 4 rows by 8 columns, 128 bytes. */
  @inline static clear(tilePtr: usize): void {
    const zero = f32x4.splat(0)
    for (let p: usize = 0; p < 128; p += 16) v128.store(tilePtr + p, zero)
  }

  /** Adds one group's integer sums of 4 columns, times the group's scales. */
  @inline static add(ptr: usize, sums: v128, scales: v128): void {
    v128.store(ptr, f32x4.add(v128.load(ptr), f32x4.mul(f32x4.convert_i32x4_s(sums), scales)))
  }
}
