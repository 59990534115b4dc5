// Fine-tuned models: names for checkpoints that jobs left.

import { ModelNotFoundError } from '../../errors.ts'
import type { FineTunedModel } from '../../jobs/job.ts'
import { firstRow, listParameter, readJson, rows, run, type BrokerStore } from './store.ts'
import { discard } from './trash-rows.ts'

type ModelRow = {
  id: string
  project: string
  base: string
  job: string
  method: string
  heads: string
  labels: string | null
  objects: string
  created_ms: number
}

export function insertModel(store: BrokerStore, model: FineTunedModel): void {
  run(
    store,
    `INSERT INTO models (id, project, base, job, method, heads, labels, objects, created_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    model.id,
    model.project,
    model.base,
    model.job,
    model.method,
    JSON.stringify(model.heads),
    model.labels === null ? null : JSON.stringify(model.labels),
    JSON.stringify(model.objects),
    model.createdAtMs,
  )
  run(
    store,
    'INSERT OR IGNORE INTO model_objects (key, model) SELECT value, ? FROM json_each(?)',
    model.id,
    listParameter(model.objects.map(({ key }) => key)),
  )
}

export function listModels(store: BrokerStore, project: string): FineTunedModel[] {
  return rows<ModelRow>(store, 'SELECT * FROM models WHERE project = ? ORDER BY ordinal', project).map(toModel)
}

/** @throws ModelNotFoundError */
export function modelOfProject(store: BrokerStore, project: string, id: string): FineTunedModel {
  const row = firstRow<ModelRow>(store, 'SELECT * FROM models WHERE id = ? AND project = ?', id, project)
  if (row === undefined) throw new ModelNotFoundError('no model of that name is served here')
  return toModel(row)
}

/** Jobs that already use it go on; its objects go when no file and no such job names them. @throws ModelNotFoundError */
export function deleteModel(store: BrokerStore, project: string, id: string): void {
  const model = modelOfProject(store, project, id)
  run(store, 'DELETE FROM models WHERE id = ?', id)
  run(store, 'DELETE FROM model_objects WHERE model = ?', id)
  discard(
    store,
    model.objects.map(({ key }) => key),
  )
}

function toModel(row: ModelRow): FineTunedModel {
  return {
    id: row.id,
    project: row.project,
    base: row.base,
    job: row.job,
    method: row.method,
    heads: readJson(row.heads),
    labels: row.labels === null ? null : readJson(row.labels),
    objects: readJson(row.objects),
    createdAtMs: row.created_ms,
  }
}
