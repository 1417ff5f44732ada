"""Explains AWS's errors: what was wrong and what to do, without any secret."""

import re
from typing import Any

from api.cluster.errors import ClusterError, Conflict, NotThere

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_KEY = {
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_THROTTLED = {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}

# By name, because the oldest botocore that this project accepts has no LoginError.
_LOGGED_OUT = {"SSOError", "LoginError", "TokenRetrievalError"}

_ACTION = re.compile(r"\b(?:dsql|iam|kms):[A-Z][A-Za-z]+")


def is_temporary(error: Exception) -> bool:
    """Whether the same call may succeed a moment later: throttling, a fault of AWS, a connection that failed."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        http: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = _code(error)
        return code in _THROTTLED or http >= 500 or code in ("InternalServerException", "ServiceUnavailableException")
    return isinstance(error, (aws.ConnectionError, aws.HTTPClientError)) and not isinstance(error, aws.SSLError)


def retry_after(error: Exception) -> float:
    """Seconds that AWS wants a client to wait before the next try; 0 if its answer names none."""
    # A connection error has a `response` too, but it is None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return float(response.get("retryAfterSeconds", 0))


def explain(error: Exception, operation: str, region: str) -> ClusterError:
    """Return the error for the operator. `operation` is its name in the API, such as CreateCluster."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _explain_answer(error, operation, region)
    return _explain_failure(error, region)


def _explain_answer(error: Any, operation: str, region: str) -> ClusterError:
    code = _code(error)
    answer = f"AWS says in {region}: {error.response.get('Error', {}).get('Message') or code}"
    if code in _EXPIRED or (code in _UNKNOWN_KEY and "expired" in answer):
        return ClusterError(
            "the AWS credentials have expired; renew them, as with `aws sso login` or `aws login`, and try again; if "
            "they are new, set this machine's clock"
        )
    if code in _UNKNOWN_KEY:
        return ClusterError(
            f"AWS does not know these credentials in {region}; check AWS_PROFILE, the access key and its session "
            f"token, and that {region} is enabled for the account"
        )
    if code in ("AccessDenied", "AccessDeniedException"):
        return _denied(answer, operation, region)
    if code == "ServiceQuotaExceededException":
        quota = error.response.get("quotaCode") or error.response.get("Error", {}).get("quotaCode")
        return ClusterError(
            f"a quota of Aurora DSQL is used up in {region}{f' ({quota})' if quota else ''}; delete clusters that are "
            f"no longer needed, or have it raised in Service Quotas; {answer}"
        )
    if code in _THROTTLED:
        return ClusterError(f"AWS still has too many requests in {region} after several tries; try again in a minute")
    if code == "ConflictException":
        return Conflict(
            f"the cluster is being changed just now; wait a little and run the same command again; {answer}"
        )
    if code == "ResourceNotFoundException":
        return NotThere(f"there is no such cluster in {region}; look with `dropzero cluster status`; {answer}")
    if code == "ValidationException":
        fields = error.response.get("fieldList") or []
        details = "; ".join(f"{field.get('name')}: {field.get('message')}" for field in fields)
        return ClusterError(
            f"AWS does not accept {operation} in {region} as asked; {answer}{details and f' ({details})'}"
        )
    return ClusterError(f"{operation} failed ({code}); try again, and see the AWS Health Dashboard; {answer}")


def _denied(answer: str, operation: str, region: str) -> ClusterError:
    if "service-linked role" in answer or "iam:CreateServiceLinkedRole" in answer:
        action = "iam:CreateServiceLinkedRole (for dsql.amazonaws.com, needed once per account)"
    else:
        named = _ACTION.search(answer)
        action = named[0] if named else f"dsql:{operation}"
    return ClusterError(f"these AWS credentials may not do {action} in {region}; add it to their IAM policy")


def _explain_failure(error: Exception, region: str) -> ClusterError:
    """A failure without an answer of AWS. What credential programs print is left out: it can hold a secret."""
    from botocore import exceptions as aws

    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError)):
        return ClusterError(
            "there are no AWS credentials; log in with `aws sso login` or `aws login`, or set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if _LOGGED_OUT & {kind.__name__ for kind in type(error).__mro__}:
        return ClusterError("the login to AWS has ended; run `aws sso login` or `aws login`, and try again")
    if isinstance(error, (aws.ProfileNotFound, aws.ConfigParseError, aws.ConfigNotFound)):
        return ClusterError(f"the AWS configuration cannot be used: {error}; check AWS_PROFILE and ~/.aws/config")
    if isinstance(error, aws.CredentialRetrievalError):
        return ClusterError(
            "the AWS credentials cannot be fetched; check the profile's credential source, and try again"
        )
    if isinstance(error, aws.SSLError):
        return ClusterError(
            f"the certificate of AWS in {region} does not verify; check this machine's clock, its proxy, and "
            "AWS_CA_BUNDLE"
        )
    if isinstance(error, (aws.ConnectionError, aws.HTTPClientError)):
        return ClusterError(
            f"AWS cannot be reached in {region}; check the network and its proxy, and that Aurora DSQL is offered there"
        )
    if isinstance(error, aws.NoRegionError):
        return ClusterError("no Region is named; give one with --region")
    return ClusterError(f"AWS could not be called in {region}: {type(error).__name__}: {error}")


def _code(error: Any) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code
