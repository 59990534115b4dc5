// The tables, and how an older database becomes a present one. Migrations only go forward; each runs once, at start, in one
// transaction with the others that are missing. What was released is never edited: a change is a new entry at the end.

/** By version, the first being 1. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE jobs (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    model TEXT NOT NULL,
    model_id TEXT NOT NULL,
    need TEXT NOT NULL,
    input TEXT,
    input_object TEXT,
    objects TEXT NOT NULL,
    request TEXT NOT NULL,
    min_memory_mib INTEGER NOT NULL,
    max_runtime_ms INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    deadline_ms INTEGER,
    created_ms INTEGER NOT NULL,
    ready_ms INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    resend_ms INTEGER,
    started_ms INTEGER,
    ended_ms INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    token TEXT,
    lease_until_ms INTEGER,
    run_until_ms INTEGER,
    heartbeat_sequence INTEGER NOT NULL DEFAULT 0,
    lease_gpu_seconds REAL NOT NULL DEFAULT 0,
    run_ms INTEGER NOT NULL DEFAULT 0,
    wait_ms INTEGER NOT NULL DEFAULT 0,
    is_cancel_requested INTEGER NOT NULL DEFAULT 0,
    is_pause_requested INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    error TEXT,
    result TEXT,
    outputs TEXT NOT NULL DEFAULT '[]',
    gpu_seconds REAL NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    -- When the alarm has something to do with the job: computed, so that no statement can forget it.
    due_ms INTEGER GENERATED ALWAYS AS (
      CASE state
        WHEN 'running' THEN min(lease_until_ms, run_until_ms, coalesce(deadline_ms, 9007199254740991))
        WHEN 'stored' THEN min(resend_ms, coalesce(deadline_ms, 9007199254740991))
        WHEN 'queued' THEN deadline_ms
        WHEN 'paused' THEN deadline_ms
      END
    ) VIRTUAL
  );
  CREATE INDEX jobs_ready ON jobs (priority, ordinal, kind, need) WHERE state = 'queued';
  CREATE INDEX jobs_waiting ON jobs (priority, ordinal, state, kind, ready_ms) WHERE state IN ('stored', 'queued');
  CREATE INDEX jobs_stored ON jobs (resend_ms) WHERE state = 'stored';
  CREATE INDEX jobs_delayed ON jobs (not_before_ms) WHERE state = 'queued';
  CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
  CREATE INDEX jobs_due ON jobs (due_ms) WHERE due_ms IS NOT NULL;
  CREATE INDEX jobs_ended ON jobs (ended_ms) WHERE ended_ms IS NOT NULL;
  CREATE INDEX jobs_of_project ON jobs (project, ordinal);

  -- Objects that jobs which are not over may read.
  CREATE TABLE job_reads (key TEXT NOT NULL, job TEXT NOT NULL, PRIMARY KEY (key, job)) WITHOUT ROWID;
  CREATE INDEX job_reads_of_job ON job_reads (job);

  CREATE TABLE events (
    job TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, sequence)
  ) WITHOUT ROWID;
  CREATE INDEX events_progress ON events (job, sequence) WHERE type = 'progress';

  CREATE TABLE checkpoints (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    fence INTEGER NOT NULL,
    step INTEGER NOT NULL,
    objects TEXT NOT NULL,
    metrics TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- Its objects are kept; of older checkpoints only the metrics are.
    is_resumable INTEGER NOT NULL DEFAULT 1
  );
  CREATE INDEX checkpoints_of_job ON checkpoints (job, ordinal);

  CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    description TEXT NOT NULL,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
  ) WITHOUT ROWID;

  CREATE TABLE worker_tokens (
    id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    kinds TEXT,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    last_used_ms INTEGER
  ) WITHOUT ROWID;

  CREATE TABLE idempotency_keys (
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job TEXT,
    started_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    response TEXT,
    PRIMARY KEY (project, key)
  ) WITHOUT ROWID;
  CREATE INDEX idempotency_keys_by_age ON idempotency_keys (started_ms);

  CREATE TABLE files (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
  );
  CREATE INDEX files_of_project ON files (project, ordinal);
  CREATE INDEX files_by_key ON files (key);
  CREATE INDEX files_expiring ON files (expires_ms) WHERE expires_ms IS NOT NULL;

  CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    status TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    file TEXT,
    file_expires_after_seconds INTEGER
  ) WITHOUT ROWID;
  CREATE INDEX uploads_expiring ON uploads (expires_ms);
  CREATE TABLE upload_parts (
    id TEXT PRIMARY KEY,
    upload TEXT NOT NULL,
    key TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX upload_parts_of_upload ON upload_parts (upload);
  CREATE INDEX upload_parts_by_key ON upload_parts (key);

  CREATE TABLE models (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    base TEXT NOT NULL,
    job TEXT NOT NULL,
    method TEXT NOT NULL,
    heads TEXT NOT NULL,
    labels TEXT,
    objects TEXT NOT NULL,
    created_ms INTEGER NOT NULL
  );
  CREATE INDEX models_of_project ON models (project, ordinal);
  CREATE TABLE model_objects (key TEXT NOT NULL, model TEXT NOT NULL, PRIMARY KEY (key, model)) WITHOUT ROWID;
  CREATE INDEX model_objects_of_model ON model_objects (model);

  CREATE TABLE usage_days (
    project TEXT NOT NULL,
    day TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    gpu_seconds REAL NOT NULL DEFAULT 0,
    jobs INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, day)
  ) WITHOUT ROWID;

  CREATE TABLE ended_counts (
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    run_ms INTEGER NOT NULL DEFAULT 0,
    wait_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, state)
  ) WITHOUT ROWID;
  CREATE TABLE duration_counts (
    kind TEXT NOT NULL,
    le REAL NOT NULL,
    count INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, le)
  ) WITHOUT ROWID;

  CREATE TABLE trash (key TEXT PRIMARY KEY, due_ms INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX trash_due ON trash (due_ms);
  `,
  `
  CREATE TABLE webhook_endpoints (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    events TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    disabled_ms INTEGER
  );
  CREATE INDEX webhook_endpoints_of_project ON webhook_endpoints (project, ordinal);
  -- What is still to be delivered; a row goes when it was taken, or nobody will take it any more.
  CREATE TABLE webhook_outbox (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL
  );
  CREATE INDEX webhook_outbox_next ON webhook_outbox (next_ms);
  CREATE INDEX webhook_outbox_of_endpoint ON webhook_outbox (endpoint);
  `,
  `
  -- From creation to deadline, for a retry to have as much time again.
  ALTER TABLE jobs ADD COLUMN window_ms INTEGER;
  UPDATE jobs SET window_ms = deadline_ms - created_ms;
  `,
  `
  -- A checkpoint told twice is one: heartbeats are repeated, and the end of a lease tells its last one again.
  UPDATE checkpoints SET is_resumable = max(is_resumable, (
    SELECT max(twin.is_resumable) FROM checkpoints twin
    WHERE twin.job = checkpoints.job AND twin.fence = checkpoints.fence AND twin.step = checkpoints.step
  ));
  DELETE FROM checkpoints WHERE ordinal NOT IN (SELECT min(ordinal) FROM checkpoints GROUP BY job, fence, step);
  CREATE UNIQUE INDEX checkpoints_once ON checkpoints (job, fence, step);
  `,
  `
  -- What a completed upload was made of, for a completion that is sent again.
  ALTER TABLE uploads ADD COLUMN part_ids TEXT;
  `,
  `
  ALTER TABLE jobs ADD COLUMN cancel_requested_ms INTEGER;
  -- What the worker asked for last: a clock that falls back makes no lease longer than that.
  ALTER TABLE jobs ADD COLUMN lease_ms INTEGER;
  `,
]

const SCHEMA_VERSION = MIGRATIONS.length

/** @throws Error when the database is of a later release than this code */
export function migrate(storage: Migrated): void {
  const { sql } = storage
  storage.transactionSync(() => {
    sql.exec('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)')
    const version = sql.exec<{ version: number }>('SELECT version FROM schema_version').toArray()[0]?.version ?? 0
    if (version > SCHEMA_VERSION) {
      throw new Error(`expected a job database of at most version ${SCHEMA_VERSION}, found version ${version}`)
    }
    if (version === SCHEMA_VERSION) return
    for (const statements of MIGRATIONS.slice(version)) sql.exec(statements)
    sql.exec('DELETE FROM schema_version')
    sql.exec('INSERT INTO schema_version (version) VALUES (?)', SCHEMA_VERSION)
  })
}

interface Migrated {
  sql: SqlStorage
  transactionSync: <T>(run: () => T) => T
}
