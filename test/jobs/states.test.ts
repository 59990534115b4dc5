// Every state × every move, against a table written by hand rather than the one the code has.

import { expect, test } from 'vitest'
import {
  isTerminal,
  JOB_MOVES,
  JOB_STATES,
  sourcesOf,
  stateAfter,
  targetOf,
  type JobMove,
  type JobState,
} from '../../src/jobs/states.ts'

/** A row a state, a column a move; a dot where the move is refused. */
const TABLE = `
            enqueue lease   complete  release exhaust fail   cancel    pause  resume expire  retry
  stored    queued  .       .         .       .       .      cancelled paused .      expired .
  queued    .       running .         .       .       .      cancelled paused .      expired .
  running   .       .       succeeded queued  dead    failed cancelled paused .      expired .
  paused    .       .       .         .       .       .      cancelled .      queued expired .
  succeeded .       .       .         .       .       .      .         .      .      .       .
  failed    .       .       .         .       .       .      .         .      .      .       queued
  dead      .       .       .         .       .       .      .         .      .      .       queued
  cancelled .       .       .         .       .       .      .         .      .      .       queued
  expired   .       .       .         .       .       .      .         .      .      .       queued
`
const [header = [], ...lines] = TABLE.trim()
  .split('\n')
  .map((line) => line.trim().split(/\s+/))

const cells = lines.flatMap(([state = '', ...targets]) =>
  header.map((move, column) => ({ state, move, target: targets[column] ?? '' })),
)

test('the table names every state and every move', () => {
  expect(lines.map(([state]) => state)).toEqual(JOB_STATES)
  expect(header).toEqual(JOB_MOVES)
})

test.each(cells)('$move from $state ends in $target', ({ state, move, target }) => {
  const [from, by] = [state as JobState, move as JobMove]
  expect(stateAfter(from, by) ?? '.').toBe(target)
  expect(sourcesOf(by).includes(from)).toBe(target !== '.')
  expect(target === '.' || targetOf(by) === target).toBe(true)
})

test('a terminal state is one that only a retry leaves', () => {
  for (const state of JOB_STATES) {
    const moves = JOB_MOVES.filter((move) => stateAfter(state, move) !== undefined)
    expect(isTerminal(state)).toBe(moves.every((move) => move === 'retry'))
  }
})
