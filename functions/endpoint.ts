export interface BucketPlace {
  readonly bucket: string;
  readonly region: string;
  /** An S3-compatible server; without it, AWS. */
  readonly s3Endpoint?: string;
}

/** Where a service of AWS listens in a region. */
export function endpointOf(service: string, region: string): URL {
  return new URL(`https://${service}.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`);
}

/**
 * Where a bucket's objects are. On AWS in the bucket's own host, but for names with dots, which no certificate of S3 covers;
 * at other servers in a path, which all of them take.
 */
export function bucketUrl({ bucket, region, s3Endpoint }: BucketPlace): URL {
  const base = s3Endpoint === undefined ? endpointOf("s3", region) : new URL(s3Endpoint);
  if (s3Endpoint === undefined && !bucket.includes(".")) base.hostname = `${bucket}.${base.hostname}`;
  else base.pathname = `${base.pathname.replace(/\/$/, "")}/${bucket}`;
  return base;
}
