// What flava_gpu.export reports about the tensors it wrote; gpu/flava_gpu/export_report.py is the other side.
import { readFile } from 'node:fs/promises'
import { z } from 'zod'

const tensorErrorSchema = z
  .object({ relative_error: z.number(), output_error: z.number().nullable() })
  .transform(({ relative_error: relativeError, output_error: outputError }) => ({ relativeError, outputError }))

export const exportReportSchema = z.object({
  checkpoint: z.string(),
  space: z.string(),
  weights: z.string(),
  variant: z.string(),
  rounding: z.enum(['nearest', 'compensated']),
  /** By the weight's name, `.weight` included. */
  tensors: z.record(z.string(), tensorErrorSchema),
})

export type ExportReport = z.infer<typeof exportReportSchema>

export async function readExportReport(path: string): Promise<ExportReport> {
  return exportReportSchema.parse(JSON.parse(await readFile(path, 'utf8')))
}
