"""Errors of AWS are explained in one line: what was wrong and what to do, and never a secret."""

from pathlib import Path

import pytest
from botocore import exceptions as aws

from api.cluster.control_plane import Aws
from api.cluster.errors import ClusterError
from tests.cluster.account import Account, Refusal
from tests.command import Run

TOKYO = "ap-northeast-1"
DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/deploy/ada is not authorized to perform: dsql:PutWitnessRegion on "
    "resource: arn:aws:dsql:ap-northeast-1:123456789012:cluster/*"
)
QUOTA = {"resourceId": "x", "resourceType": "cluster", "serviceCode": "dsql", "quotaCode": "L-A1B2C3D4"}
FIELDS = {"reason": "fieldValidationFailed", "fieldList": [{"name": "tags", "message": "too many"}]}


@pytest.fixture
def account() -> Account:
    return Account()


def refused(account: Account, operation: str, *refusals: Refusal | Exception) -> str:
    """The last line of a creation that AWS refuses with these answers. Checks that the exit status is 1."""
    account.refuse(TOKYO, operation, *refusals)
    run: Run = account.create()
    assert (run.status, run.out) == (1, "")
    complaint = run.err.splitlines()[-1]
    assert complaint.startswith("dropzero: ")
    assert "a-secret-key" not in run.err
    return complaint


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            Refusal("ExpiredTokenException", "The security token included in the request is expired", 403),
            "have expired",
        ),
        (Refusal("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", 403), "have expired"),
        (Refusal("UnrecognizedClientException", http=403), "does not know these credentials in ap-northeast-1"),
        (Refusal("AccessDeniedException", DENIED, 403), "may not do dsql:PutWitnessRegion in ap-northeast-1; add it"),
        (Refusal("AccessDeniedException", "Access denied", 403), "may not do dsql:CreateCluster in ap-northeast-1"),
        (
            Refusal("AccessDeniedException", "You don't have the permissions to create a service-linked role", 403),
            "may not do iam:CreateServiceLinkedRole",
        ),
        (
            Refusal("ServiceQuotaExceededException", "too many clusters", 402, QUOTA),
            "a quota of Aurora DSQL is used up in ap-northeast-1 (L-A1B2C3D4); delete clusters",
        ),
        (Refusal("ConflictException", http=409), "is being changed just now; wait a little"),
        (Refusal("ValidationException", "bad", 400, FIELDS), "AWS says in ap-northeast-1: bad (tags: too many)"),
        (Refusal("TeapotException", "short and stout", 418), "CreateCluster failed (TeapotException)"),
        (aws.NoCredentialsError(), "there are no AWS credentials; log in"),
        (aws.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "there are no AWS credentials"),
        (aws.UnauthorizedSSOTokenError(), "the login to AWS has ended; run `aws sso login`"),
        (aws.TokenRetrievalError(provider="sso", error_msg="x"), "the login to AWS has ended"),
        (
            aws.CredentialRetrievalError(provider="process", error_msg="printed a-secret-key"),
            "the AWS credentials cannot be fetched",
        ),
        (
            aws.SSLError(endpoint_url="https://dsql", error=OSError("x")),
            "the certificate of AWS in ap-northeast-1 does not verify",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else getattr(value, "code", type(value).__name__),
)
def test_a_refusal_is_one_line_that_says_what_to_do(account: Account, refusal: Refusal | Exception, said: str) -> None:
    assert said in refused(account, "CreateCluster", refusal)
    assert len(account.asked("CreateCluster")) == 1, "trying again is of no use"
    assert account.naps == []


def test_throttling_is_waited_out_for_as_long_as_aws_asks(account: Account) -> None:
    throttled = Refusal("ThrottlingException", "slow down", 429, {"retryAfterSeconds": 7})
    account.refuse(TOKYO, "CreateCluster", throttled, throttled)
    assert account.create().status == 0
    assert account.naps[:2] == [7, 7]
    tokens = {arguments["clientToken"] for region, _, arguments in account.asked("CreateCluster") if region == TOKYO}
    assert len(tokens) == 1


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal("ThrottlingException", http=429), "still has too many requests in ap-northeast-1 after several tries"),
        (Refusal("InternalServerException", "oops", 500), "ListClusters failed (InternalServerException); try again"),
        (
            aws.EndpointConnectionError(endpoint_url="https://dsql"),
            "AWS cannot be reached in ap-northeast-1; check the",
        ),
        (aws.ReadTimeoutError(endpoint_url="https://dsql"), "AWS cannot be reached in ap-northeast-1"),
    ],
    ids=["throttled", "fault", "no network", "timeout"],
)
def test_a_temporary_failure_is_tried_five_times_and_no_more(
    account: Account, refusal: Refusal | Exception, said: str
) -> None:
    assert said in refused(account, "ListClusters", *[refusal] * 10)
    assert len([call for call in account.asked("ListClusters") if call[0] == TOKYO]) == 5
    assert sum(account.naps) < 8


def test_aws_cannot_make_it_wait_for_ever(account: Account) -> None:
    account.refuse(TOKYO, "ListClusters", Refusal("ThrottlingException", "x", 429, {"retryAfterSeconds": 86400}))
    assert account.create().status == 0
    assert account.naps[0] == 20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any AWS configuration, for boto3's own client."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    return monkeypatch


def ask_aws() -> str:
    """The error when boto3's own client reads a cluster. Retries do not wait."""
    with pytest.raises(ClusterError) as ended:
        Aws(sleep=lambda _: None).control_plane(TOKYO).get("a" * 26)
    return str(ended.value)


def test_a_machine_without_credentials_is_told_to_log_in(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("AWS_ENDPOINT_URL_DSQL", "http://127.0.0.1:9")
    assert ask_aws().startswith("there are no AWS credentials; log in")


def test_a_missing_profile_is_named_with_what_to_check(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("AWS_PROFILE", "nobody")
    assert ask_aws() == (
        "the AWS configuration cannot be used: The config profile (nobody) could not be found; check AWS_PROFILE and "
        "~/.aws/config"
    )


def test_a_machine_without_a_network_reads_that_aws_cannot_be_reached(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("AWS_ENDPOINT_URL_DSQL", "http://127.0.0.1:9")
    machine.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    machine.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    assert ask_aws().startswith("AWS cannot be reached in ap-northeast-1; check the network")
