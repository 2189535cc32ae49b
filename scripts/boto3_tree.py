"""Stores, lists or fetches a tree with boto3; started by check-clients inside its virtual environment."""

import concurrent.futures
import json
import os
import pathlib
import sys

import boto3
import botocore.config


def main():
    action, endpoint, bucket, root = sys.argv[1], sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4])
    config = botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=32)
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name=os.environ["AWS_REGION"], config=config)

    def keys():
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                yield entry["Key"], entry["Size"]

    def fetch(key):
        target = root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(target))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        if action == "put":
            s3.create_bucket(Bucket=bucket)
            files = [path for path in root.rglob("*") if path.is_file()]
            list(pool.map(lambda path: s3.upload_file(str(path), bucket, path.relative_to(root).as_posix()), files))
        elif action == "list":
            json.dump(dict(keys()), sys.stdout)
        elif action == "get":
            list(pool.map(fetch, [key for key, _ in keys()]))
        else:
            sys.exit(f"there is no action {action}")


if __name__ == "__main__":
    main()
