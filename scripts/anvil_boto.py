"""boto3 in the place of this folder's own small S3 client: the same calls, made and repeated by a client that people use."""

import http.client

import anvil_check
from anvil_check import Answer

# What a node says when nobody knows what became of a request.
UNKNOWN = b"by boto3, repeated: may or may not have taken effect"


class BotoClient:
    """One node's S3 by boto3, and its /kv. One thread at a time."""

    def __init__(self, node, seconds):
        import boto3
        from botocore.config import Config

        self.plain = node.client(seconds)
        config = Config(retries={"mode": "standard"}, s3={"addressing_style": "path"}, connect_timeout=3, read_timeout=seconds)
        self.s3_client = boto3.session.Session().client(
            "s3", endpoint_url=f"http://{node.host}:{node.port}", config=config, region_name=anvil_check.REGION,
            aws_access_key_id=anvil_check.ACCESS_KEY_ID, aws_secret_access_key=anvil_check.SECRET_ACCESS_KEY,
        )

    def kv(self, method, key, body=b""):
        return self.plain.kv(method, key, body)

    def send(self, *request):
        return self.plain.send(*request)

    def s3(self, method, path, headers=None, body=b""):
        """PUT, GET or DELETE of an object, with `if-match` or `if-none-match`. An outcome that repetitions made unknown is a 503."""
        from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

        bucket, key = path.removeprefix("/").split("/", 1)
        named = {"if-match": "IfMatch", "if-none-match": "IfNoneMatch"}
        conditions = {named[name]: value for name, value in (headers or {}).items()}
        try:
            if method == "PUT":
                answer = self.s3_client.put_object(Bucket=bucket, Key=key, Body=body, **conditions)
                found = b""
            elif method == "GET":
                answer = self.s3_client.get_object(Bucket=bucket, Key=key, **conditions)
                found = answer["Body"].read()
            else:
                answer = self.s3_client.delete_object(Bucket=bucket, Key=key)
                found = b""
        except ClientError as error:
            said = error.response["ResponseMetadata"]
            status = said["HTTPStatusCode"]
            if said.get("RetryAttempts", 0) and method != "GET" and (status in (409, 412) or status >= 500):
                # An earlier try may have done what this one failed at.
                return Answer(503, {}, UNKNOWN)
            told = error.response["Error"]
            return Answer(status, said.get("HTTPHeaders", {}), f"{told.get('Code')}: {told.get('Message')}".encode())
        except ReadTimeoutError as error:
            raise TimeoutError(str(error)) from None
        except AttributeError as error:
            # botocore looks at the socket after http.client has let go of one that broke.
            raise ConnectionError(str(error)) from None
        except (BotoCoreError, http.client.HTTPException) as error:
            raise ConnectionError(str(error)) from None
        said = answer["ResponseMetadata"]
        return Answer(said["HTTPStatusCode"], said.get("HTTPHeaders", {}), found)
