import { expect, test } from 'vitest'
import { fitLine, median, medianRatio } from '../../bench/encoders/statistics.ts'

test('the median of an even count is the mean of the middle two', () => {
  expect(median([4, 1, 3])).toBe(3)
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(median([])).toBeNaN()
})

test('the median ratio pairs rounds, so a slow round of both changes nothing', () => {
  expect(medianRatio([20, 200, 21], [10, 100, 10])).toBe(2)
  expect(() => medianRatio([1, 2], [1])).toThrow('got 2 and 1')
})

test('a line through points on a line is that line, with R² 1', () => {
  const fit = fitLine([1, 2, 5, 9].map((x) => [x, 3 + 0.5 * x] as const))
  expect(fit.slope).toBeCloseTo(0.5, 12)
  expect(fit.intercept).toBeCloseTo(3, 12)
  expect(fit.r2).toBeCloseTo(1, 12)
})

test('R² falls when points leave the line', () => {
  expect(
    fitLine([
      [0, 0],
      [1, 3],
      [2, 0],
      [3, 3],
    ]).r2,
  ).toBeCloseTo(0.2, 12)
})
