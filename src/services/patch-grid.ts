// Places in a picture as positions in the model's grid of patches, row by row from the top left.

import { InvalidInputError } from '../errors.ts'

/** A patch by its row and column, or a box by its corners in shares of the picture: [x0, y0, x1, y1] from 0 to 1. */
export interface MaskedPlaces {
  cells: readonly (readonly [row: number, column: number])[]
  boxes: readonly (readonly [x0: number, y0: number, x1: number, y1: number])[]
}

/**
 * The patches that are named or touched by a box, each once, in ascending order.
 * @param side patches along each side of the picture
 * @throws InvalidInputError for a cell outside the grid, or a box without area
 */
export function patchPositions({ cells, boxes }: MaskedPlaces, side: number, param: string): number[] {
  const positions = new Set<number>()
  for (const [index, [row, column]] of cells.entries()) {
    const place = `${param}.masked_patches[${index}]`
    if (row >= side || column >= side) {
      throw new InvalidInputError(`${place}: expected a row and a column below ${side}, got [${row}, ${column}]`, {
        param: place,
      })
    }
    positions.add(row * side + column)
  }
  for (const [index, [x0, y0, x1, y1]] of boxes.entries()) {
    const place = `${param}.masked_boxes[${index}]`
    if (x0 >= x1 || y0 >= y1) {
      throw new InvalidInputError(`${place}: expected [x0, y0, x1, y1] with x0 below x1 and y0 below y1`, {
        param: place,
      })
    }
    for (let row = Math.floor(y0 * side); row < Math.ceil(y1 * side); row++) {
      for (let column = Math.floor(x0 * side); column < Math.ceil(x1 * side); column++)
        positions.add(row * side + column)
    }
  }
  return [...positions].toSorted((a, b) => a - b)
}
