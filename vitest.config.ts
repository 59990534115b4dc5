// All TypeScript tests, in plain Node; those that need workerd start it themselves.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The slowest tests run whole encoders, or build the four Workers first.
    testTimeout: 60_000,
    hookTimeout: 180_000,
  },
})
