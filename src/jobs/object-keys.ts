// Where each kind of object lies in the bucket. Keys are made of ids of ours, fences and names that our own code chose:
// never of what a user calls a file.

import { INPUT_OBJECT } from './worker-protocol.ts'

export function fileKey(fileId: string): string {
  return `files/${fileId}`
}

export function partKey(uploadId: string, partId: string): string {
  return `uploads/${uploadId}/${partId}`
}

export function inputKey(jobId: string): string {
  return `jobs/${jobId}/${INPUT_OBJECT}`
}

/** What a lease of the job writes: no two leases share a key, so a late writer overwrites nothing that counts. */
export function outputKey(jobId: string, fence: number, name: string): string {
  return outputPrefix(jobId, fence) + name
}

/** Everything that one lease of the job may have written; with its slash at the end, ObjectStore.delete takes it all. */
export function outputPrefix(jobId: string, fence: number): string {
  return `jobs/${jobId}/${fence}/`
}
