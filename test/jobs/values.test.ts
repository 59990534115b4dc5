// The small values that the jobs API is made of: backoff, ids, keys, capabilities, webhook names and URLs.

import { describe, expect, test } from 'vitest'
import { backoffMs, JOB_BACKOFF, WEBHOOK_BACKOFF } from '../../src/jobs/backoff.ts'
import { canDo, kindsOf, needOf, needsMetBy } from '../../src/jobs/capability.ts'
import { isId, newId, newJobId } from '../../src/jobs/ids.ts'
import { JOB_KINDS, priorityOf } from '../../src/jobs/kinds.ts'
import { fileKey, inputKey, outputKey, outputPrefix, partKey } from '../../src/jobs/object-keys.ts'
import { JOB_STATES } from '../../src/jobs/states.ts'
import { WEBHOOK_EVENT_TYPES, webhookEventOf } from '../../src/jobs/webhook-events.ts'
import { webhookUrlProblem } from '../../src/jobs/webhook-url.ts'
import type { WorkerDescription } from '../../src/jobs/worker-protocol.ts'

describe('backoff', () => {
  test('doubles from its first step to its longest, and jitter takes up to half of it', () => {
    expect([1, 2, 3, 8, 9, 50].map((failures) => backoffMs(failures, JOB_BACKOFF, 1))).toEqual([
      2_000, 4_000, 8_000, 256_000, 300_000, 300_000,
    ])
    expect(backoffMs(1, JOB_BACKOFF, 0)).toBe(1_000)
    expect(backoffMs(2_000, WEBHOOK_BACKOFF, 1)).toBe(WEBHOOK_BACKOFF.maxMs)
  })
})

describe('ids and keys', () => {
  const zeros = (digits: number): string => '0'.repeat(digits)

  test('an id says what it names, and is recognized as just that', () => {
    expect(newJobId('fine_tuning', zeros)).toBe(`ftjob-${zeros(24)}`)
    expect(newJobId('batch', zeros)).toBe(`batch_${zeros(24)}`)
    expect(newJobId('multimodal.match', zeros)).toBe(`job_${zeros(24)}`)
    expect(isId(newId('file', zeros), 'file')).toBe(true)
    expect(isId(newId('file', zeros), 'job', 'batch')).toBe(false)
    expect(isId(`file-${zeros(23)}`, 'file')).toBe(false)
    expect(isId(`file-${zeros(20)}/../`, 'file')).toBe(false)
  })

  test('two leases of a job never write under the same key', () => {
    expect(outputKey('job_1', 1, 'result.json')).toBe('jobs/job_1/1/result.json')
    expect(outputKey('job_1', 2, 'result.json').startsWith(outputPrefix('job_1', 1))).toBe(false)
    expect(outputKey('job_1', 11, 'result.json').startsWith(outputPrefix('job_1', 1))).toBe(false)
    expect([fileKey('file-1'), partKey('upload_1', 'part_1'), inputKey('job_1')]).toEqual([
      'files/file-1',
      'uploads/upload_1/part_1',
      'jobs/job_1/input.json',
    ])
  })
})

describe('capabilities', () => {
  const worker: WorkerDescription = {
    id: 'a',
    version: '1',
    device: 'cuda',
    gpus: 1,
    memory_mib: 24_000,
    kinds: ['multimodal.match', 'batch'],
    models: [{ id: 'm', heads: ['itm'], is_loaded: true }],
  }
  const job = { kind: 'batch' as const, minMemoryMib: 24_000, need: needOf('m', null) }

  test('a worker can do a job of a kind, size, model and head that it has', () => {
    expect(canDo(worker, null, job)).toBe(true)
    expect(canDo(worker, null, { ...job, need: needOf('m', 'itm') })).toBe(true)
  })

  test('it cannot do it when any one of them is missing', () => {
    expect(canDo(worker, null, { ...job, kind: 'fine_tuning' })).toBe(false)
    expect(canDo(worker, null, { ...job, minMemoryMib: 24_001 })).toBe(false)
    expect(canDo(worker, null, { ...job, need: needOf('other', null) })).toBe(false)
    expect(canDo(worker, null, { ...job, need: needOf('m', 'mlm') })).toBe(false)
    expect(canDo(worker, ['multimodal.match'], job)).toBe(false)
  })

  test('its token can only take away', () => {
    expect(kindsOf(worker, ['batch', 'fine_tuning'])).toEqual(['batch'])
    expect(needsMetBy(worker)).toEqual(['m', 'm\nitm'])
  })
})

test('somebody who waits goes before a batch, and a batch before training', () => {
  expect(JOB_KINDS.map(priorityOf)).toEqual([0, 0, 0, 0, 1, 2])
})

describe('webhooks', () => {
  test('every end of every kind has a name, and nothing else has', () => {
    const named = JOB_KINDS.flatMap((kind) => JOB_STATES.map((state) => webhookEventOf(kind, state)))
    expect(new Set(named.filter((type) => type !== undefined))).toEqual(new Set(WEBHOOK_EVENT_TYPES))
    for (const kind of JOB_KINDS) {
      for (const state of ['stored', 'queued', 'running', 'paused'] as const)
        expect(webhookEventOf(kind, state)).toBeUndefined()
    }
    expect(webhookEventOf('batch', 'succeeded')).toBe('batch.completed')
    expect(webhookEventOf('fine_tuning', 'dead')).toBe('fine_tuning.job.failed')
  })

  test.each(['https://example.org/hook', 'https://hooks.example.org:8443/a?b=c'])('%s may be called', (url) => {
    expect(webhookUrlProblem(url, false)).toBeUndefined()
    expect(webhookUrlProblem(url, true)).toBeUndefined()
  })

  test.each([
    'http://example.org/',
    'ftp://example.org/',
    'https://10.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://[::1]/',
    'https://[fd00::1]/',
    'https://metadata.google.internal/',
    'https://printer.local/',
    'https://intranet/',
    'https://user:secret@example.org/',
    'https://example.org/#fragment',
    'https://localhost./',
    'not a url',
  ])('%s may not', (url) => {
    expect(webhookUrlProblem(url, false)).toMatch(/^expected/)
  })

  test('this machine may be called without TLS by a service that is open on it, and by no other', () => {
    for (const url of ['http://127.0.0.1:9000/hook', 'http://localhost:9000/hook', 'http://[::1]:9000/hook']) {
      expect(webhookUrlProblem(url, true)).toBeUndefined()
      expect(webhookUrlProblem(url, false)).toMatch(/^expected/)
    }
    expect(webhookUrlProblem('http://192.168.0.1/', true)).toMatch(/^expected/)
  })
})
