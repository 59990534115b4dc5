// The inputs are what vitest 5.1 and pytest 9.2 really printed, colour codes and all.
import { expect, test } from 'vitest'
import { pytestCounts, sumLine, vitestCounts } from '../../tools/closing-counts.ts'

const DIM = '\u001b[2m'
const END = '\u001b[22m'

const VITEST_MIXED = `${DIM} Test Files ${END} \u001b[1m\u001b[31m2 failed\u001b[39m${END}${DIM} | ${END}\u001b[1m\u001b[32m1 passed\u001b[39m${END}\u001b[90m (3)\u001b[39m
${DIM}      Tests ${END} \u001b[1m\u001b[31m1 failed\u001b[39m${END}${DIM} | ${END}\u001b[1m\u001b[32m3 passed\u001b[39m${END}${DIM} | ${END}\u001b[33m1 skipped\u001b[39m${DIM} | ${END}1 todo\u001b[90m (6)\u001b[39m
${DIM}     Errors ${END} \u001b[1m\u001b[31m1 error\u001b[39m${END}
${DIM}   Start at ${END} 12:13:30
${DIM}   Duration ${END} 1.49s${DIM} (transform 37%, import 33%, tests 24%, worker 6%)${END}
`

const VITEST_PASSED = ` ✓ test/architecture.test.ts (7 tests) 211ms

 Test Files  1 passed (1)
      Tests  7 passed (7)
   Start at  12:12:10
   Duration  902ms (tests 57%, transform 31%, import 9%, worker 3%)
`

test('vitest counts survive colour codes; a file that did not load and an error outside of tests are failures', () => {
  expect(vitestCounts(VITEST_MIXED)).toEqual({
    lines: [
      ' Test Files  2 failed | 1 passed (3)',
      '      Tests  1 failed | 3 passed | 1 skipped | 1 todo (6)',
      '     Errors  1 error',
    ],
    passed: 3,
    failed: 3,
    skipped: 2,
  })
})

test('vitest counts of a passing run have no failures', () => {
  expect(vitestCounts(VITEST_PASSED)).toMatchObject({ passed: 7, failed: 0, skipped: 0 })
})

test('a runner that closes without counting is one failure', () => {
  expect(vitestCounts('No test files found, exiting with code 1\n')).toMatchObject({ passed: 0, failed: 1 })
  expect(pytestCounts('Fatal Python error: Segmentation fault\n')).toMatchObject({ passed: 0, failed: 1 })
})

test('pytest errors count as failures, expected failures as skipped', () => {
  const line = '= 1 failed, 3 passed, 1 skipped, 1 xfailed, 1 xpassed, 1 warning, 1 error in 0.03s ='
  expect(pytestCounts(`ERROR py/test_a.py::test_6 - RuntimeError\n${line}\n`)).toEqual({
    lines: [line],
    passed: 4,
    failed: 2,
    skipped: 2,
  })
})

test('pytest counts are read from quiet runs, long runs, broken collections and empty runs', () => {
  expect(pytestCounts('.    [100%]\n1 passed in 0.01s\n')).toMatchObject({ passed: 1, failed: 0 })
  expect(pytestCounts('===== 120 passed in 75.31s (0:01:15) =====\n')).toMatchObject({ passed: 120, failed: 0 })
  expect(pytestCounts('=============== 1 error in 0.21s ===============\n')).toMatchObject({ passed: 0, failed: 1 })
  expect(pytestCounts('=========== no tests ran in 0.01s ============\n')).toMatchObject({ passed: 0, failed: 0 })
})

test('the sum adds the runners up and names skipped tests only when there are some', () => {
  const pytest = pytestCounts('1 passed in 0.01s\n')
  expect(sumLine([vitestCounts(VITEST_PASSED), pytest])).toBe('tests: 8 passed, 0 failed')
  expect(sumLine([vitestCounts(VITEST_MIXED), pytest])).toBe('tests: 4 passed, 3 failed, 2 skipped')
})
