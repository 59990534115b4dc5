// Presigned URLs of R2's S3 endpoint, by AWS Signature Version 4: each opens one object for a short while.

import { AwsClient } from 'aws4fetch'
import type { UrlSigner } from '../jobs/ports.ts'

export interface S3Access {
  /** With the bucket, without a slash at the end. */
  bucketUrl: string
  accessKeyId: string
  secretAccessKey: string
}

export function s3UrlSigner({ bucketUrl, accessKeyId, secretAccessKey }: S3Access): UrlSigner {
  const client = new AwsClient({ accessKeyId, secretAccessKey, service: 's3', region: 'auto' })
  const sign = async (method: string, key: string, expiresSeconds: number): Promise<string> => {
    const url = `${bucketUrl}/${key}?X-Amz-Expires=${expiresSeconds}`
    const request = await client.sign(url, { method, aws: { signQuery: true } })
    return request.url
  }
  return {
    signRead: (key, expiresSeconds) => sign('GET', key, expiresSeconds),
    signWrite: (key, expiresSeconds) => sign('PUT', key, expiresSeconds),
  }
}
