"""`dropzero cluster status` shows the clusters; its exit status says whether they can be used."""

import re

import pytest

from api.cluster.regions import REGIONS
from tests.cluster.account import Account, Refusal

TOKYO, SEOUL, OSAKA = "ap-northeast-1", "ap-northeast-2", "ap-northeast-3"


@pytest.fixture
def account() -> Account:
    """An account with two peers, and without calls."""
    account = Account()
    assert account.create("--tag", "Team=drops").status == 0
    account.calls.clear()
    return account


def test_peers_are_found_by_their_name_wherever_they_are(account: Account) -> None:
    run = account.run("status")
    assert (run.status, run.err) == (0, "")
    tokyo, seoul = account.made(TOKYO).id, account.made(SEOUL).id
    tags = r"Name=dropzero, Team=drops, dropzero:name=dropzero"
    for region, identifier, peer in ((TOKYO, tokyo, SEOUL), (SEOUL, seoul, TOKYO)):
        host = rf"{identifier}\.dsql\.{region}\.on\.aws"
        assert re.search(rf"^{region} +{identifier} +ACTIVE +{host} +{peer} +{OSAKA} +yes +{tags} *$", run.out, re.M)
    assert sorted(region for region, _, _ in account.asked("ListClusters")) == sorted(REGIONS)


def test_only_the_named_region_is_searched(account: Account) -> None:
    run = account.run("status", "--region", SEOUL)
    assert (run.status, account.made(SEOUL).id in run.out, account.made(TOKYO).id in run.out) == (0, True, False)
    assert {region for region, _, _ in account.calls} == {SEOUL}


def test_an_idle_cluster_can_be_used_and_one_that_is_made_cannot_yet(account: Account) -> None:
    account.made(TOKYO).status = "IDLE"
    assert account.run("status").status == 0
    account.made(SEOUL).status = "CREATING"
    run = account.run("status")
    assert (run.status, run.err) == (1, f"dropzero: not ready: {SEOUL} CREATING\n")
    assert account.made(SEOUL).id in run.out


def test_a_name_without_a_cluster_fails_with_what_to_do(account: Account) -> None:
    run = account.run("status", "--name", "another", "--region", TOKYO)
    assert (run.status, run.out) == (1, "")
    assert run.err == (
        f"dropzero: there is no cluster named another in {TOKYO}; make one with `dropzero cluster create`\n"
    )


def test_a_region_that_cannot_be_searched_hides_no_other(account: Account) -> None:
    account.refuse("us-east-1", "ListClusters", Refusal("AccessDeniedException", http=403))
    run = account.run("status")
    assert (run.status, account.made(TOKYO).id in run.out) == (0, True)
    assert run.err == "these AWS credentials may not do dsql:ListClusters in us-east-1; add it to their IAM policy\n"

    account.refuse("us-east-1", "ListClusters", Refusal("AccessDeniedException", http=403))
    run = account.run("status", "--name", "another")
    assert (run.status, run.out) == (1, "")
    assert "may not do dsql:ListClusters in us-east-1" in run.err


def test_a_cluster_is_shown_by_its_id(account: Account) -> None:
    identifier = account.made(TOKYO).id
    run = account.run("status", "--region", TOKYO, "--id", identifier)
    assert (run.status, identifier in run.out) == (0, True)
    run = account.run("status", "--region", SEOUL, "--id", identifier)
    assert (run.status, run.err) == (1, f"dropzero: there is no cluster {identifier} in {SEOUL}\n")


def test_an_id_needs_its_one_region(account: Account) -> None:
    identifier = account.made(TOKYO).id
    for arguments in ([], ["--region", TOKYO, "--region", SEOUL]):
        run = account.run("status", "--id", identifier, *arguments)
        assert run.status == 2
        assert run.err == ("dropzero: a cluster's id is unique in its Region only; give --id with one --region\n")
    assert "is not the id of a cluster" in account.run("status", "--region", TOKYO, "--id", "../tags").err
    assert "'tokyo' is not the name of a Region" in account.run("status", "--region", "tokyo").err
    assert account.calls == []
