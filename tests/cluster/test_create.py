"""`dropzero cluster create`: two peers that are one database, whatever fails in between."""

import json
import re

import pytest

from api.database.endpoint import parse_endpoints
from tests.cluster.account import ACCOUNT_ID, SETTING_UP, Account, Cut, Refusal
from tests.command import Run

TOKYO, SEOUL, OSAKA = "ap-northeast-1", "ap-northeast-2", "ap-northeast-3"


@pytest.fixture
def account() -> Account:
    return Account()


def one_database(account: Account) -> bool:
    """Whether there are just two clusters, ready, and each is the other's peer."""
    tokyo, seoul = account.made(TOKYO), account.made(SEOUL)
    return (
        len(account.clusters) == 2
        and (tokyo.peers, seoul.peers) == ([seoul.arn], [tokyo.arn])
        and (tokyo.status, seoul.status) == ("ACTIVE", "ACTIVE")
    )


def complaint(run: Run) -> str:
    """The last line of standard error."""
    return run.err.splitlines()[-1]


def test_two_peers_are_made_with_three_calls_and_waited_for(account: Account) -> None:
    run = account.create("--tag", "Team=drops", "--tag", "Stage=a=b")
    assert (run.status, one_database(account)) == (0, True)
    first, second, third = account.asked("CreateCluster", "UpdateCluster")
    tags = {"Name": "dropzero", "dropzero:name": "dropzero", "Team": "drops", "Stage": "a=b"}
    tokyo, seoul = account.made(TOKYO).arn, account.made(SEOUL).arn
    assert [call[:2] for call in (first, second, third)] == [
        (TOKYO, "CreateCluster"),
        (SEOUL, "CreateCluster"),
        (TOKYO, "UpdateCluster"),
    ]
    assert first[2]["multiRegionProperties"] == {"witnessRegion": OSAKA}
    assert second[2]["multiRegionProperties"] == {"witnessRegion": OSAKA, "clusters": [tokyo]}
    assert third[2]["multiRegionProperties"] == {"witnessRegion": OSAKA, "clusters": [seoul]}
    for created in (first[2], second[2]):
        assert (created["tags"], created["deletionProtectionEnabled"]) == (tags, True)
    assert first[2]["clientToken"] != second[2]["clientToken"]
    assert account.now == SETTING_UP


def test_progress_is_printed_on_standard_error_when_it_changes(account: Account) -> None:
    assert account.create().err.splitlines() == [
        f"{TOKYO} and {SEOUL} become one database, with the witness {OSAKA}",
        f"   0 s  {TOKYO} creates {account.made(TOKYO).id}",
        f"   0 s  {SEOUL} creates {account.made(SEOUL).id}",
        f"   0 s  {TOKYO} CREATING, {SEOUL} CREATING",
        f"  20 s  {TOKYO} ACTIVE, {SEOUL} ACTIVE",
    ]


def test_what_to_do_next_is_printed_to_be_copied(account: Account) -> None:
    out = account.create("--name", "autumn").out
    tokyo, seoul = account.made(TOKYO), account.made(SEOUL)
    migrating, serving = re.findall(r"^DROPZERO_ENDPOINTS=(\S+) dropzero (?:migrate|serve)$", out, re.M)
    [home] = parse_endpoints(migrating)
    assert (home.region, home.dsql and home.dsql.role) == (TOKYO, "admin")
    both = parse_endpoints(serving)
    assert [(endpoint.region, endpoint.dsql and endpoint.dsql.role) for endpoint in both] == [
        (TOKYO, "app"),
        (SEOUL, "app"),
    ]
    policies = [json.loads(policy) for policy in re.findall(r"^\{.*?^\}$", out, re.M | re.S)]
    assert [policy["Statement"] for policy in policies] == [
        [{"Effect": "Allow", "Action": f"dsql:{action}", "Resource": [tokyo.arn, seoul.arn]}]
        for action in ("DbConnectAdmin", "DbConnect")
    ]
    assert f"AWS IAM GRANT app TO 'arn:aws:iam::{ACCOUNT_ID}:role/autumn-server';" in out
    # The schema comes before the rights to its tables.
    assert out.index("dropzero migrate") < out.index("CREATE ROLE app") < out.index("dropzero serve")


def test_one_region_is_one_cluster_without_a_witness(account: Account) -> None:
    run = account.run("create", "--region", "eu-west-1", "--no-deletion-protection")
    assert run.status == 0
    [(_, _, asked)] = account.asked("CreateCluster", "UpdateCluster")
    assert "multiRegionProperties" not in asked
    assert asked["deletionProtectionEnabled"] is False
    assert account.made("eu-west-1").status == "ACTIVE"


def test_running_it_again_makes_nothing_and_prints_the_same(account: Account) -> None:
    first = account.create()
    account.calls.clear()
    second = account.create()
    assert (second.status, second.out) == (0, first.out)
    assert account.asked("CreateCluster", "UpdateCluster") == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.slow
def test_the_next_run_continues_one_that_was_interrupted_at_any_call(when: str) -> None:
    whole = Account()
    whole.create()
    calls = [operation for _, operation, _ in whole.calls]
    last_change = len(calls) - calls[::-1].index("UpdateCluster")
    for number in range(1, last_change + 2):
        # The command is run again in the same order, in the other one, and while the new clusters are not listed yet.
        # Then only the token finds them, and the token depends on the order.
        for again, unlisted in (((TOKYO, SEOUL), False), ((SEOUL, TOKYO), False), ((TOKYO, SEOUL), True)):
            account = Account(unlisted=unlisted)
            setattr(account, f"cut_{when}", number)
            with pytest.raises(Cut):
                account.create()
            account.cut_before = account.cut_after = None
            run = account.run("create", "--region", again[0], "--region", again[1])
            assert (run.status, one_database(account)) == (0, True), (number, again, unlisted, run.err)


def test_the_token_of_a_cluster_that_was_deleted_is_not_used_again(account: Account) -> None:
    account.create()
    gone = {made.id for made in account.clusters}
    assert account.run("delete", "--yes", "--remove-protection").status == 0
    run = account.create()
    assert (run.status, one_database(account)) == (0, True)
    assert gone.isdisjoint(made.id for made in account.clusters)
    assert len({arguments["clientToken"] for _, _, arguments in account.asked("CreateCluster")}) == 4


def test_a_cluster_that_is_being_deleted_does_not_count_as_a_new_one(account: Account) -> None:
    account.create()
    gone = list(account.clusters)
    for made in gone:
        made.status, made.until = "DELETING", account.now + 1.0
    account.unlisted = True
    assert account.create().status == 0
    assert one_database(account)
    assert gone[0] not in account.clusters


def test_a_new_cluster_may_take_a_moment_to_be_seen(account: Account) -> None:
    account.unseen = 3
    run = account.create()
    assert (run.status, one_database(account)) == (0, True)
    assert len(account.asked("CreateCluster")) == 2


def test_a_name_is_found_behind_others_and_on_later_pages(account: Account) -> None:
    for name in ("spring", "summer", "autumn"):
        assert account.create("--name", name).status == 0
    account.page, account.tags_shown = 1, False
    account.calls.clear()
    assert account.create("--name", "autumn").status == 0
    assert account.asked("CreateCluster", "UpdateCluster") == []
    assert len(account.asked("ListClusters")) == 6


def test_a_cluster_that_fails_ends_the_wait(account: Account) -> None:
    account.cut_after = 7
    with pytest.raises(Cut):
        account.create()
    account.cut_after = None
    account.made(SEOUL).status = "FAILED"
    run = account.create()
    assert run.status == 1
    assert complaint(run) == (
        f"dropzero: {account.made(SEOUL).id} in {SEOUL} has FAILED; delete it with `dropzero cluster delete "
        f"--region {SEOUL} --id {account.made(SEOUL).id}` and run this again"
    )


def test_a_cluster_that_is_being_deleted_is_not_built_upon(account: Account) -> None:
    account.create()
    account.made(TOKYO).status = "PENDING_DELETE"
    run = account.create()
    assert run.status == 1
    assert "is being deleted (PENDING_DELETE); wait until it is gone" in complaint(run)


def test_the_wait_has_a_deadline_and_prints_that_it_goes_on(account: Account) -> None:
    account.cut_after = 7
    with pytest.raises(Cut):
        account.create()
    account.cut_after = None
    for made in account.clusters:
        made.until = None
    run = account.create("--timeout", "100")
    assert run.status == 1
    assert complaint(run) == (
        f"dropzero: not ready after 100 s: {TOKYO} CREATING, {SEOUL} CREATING; run the same command again to go on "
        "waiting"
    )
    told = [line for line in run.err.splitlines() if line.endswith("CREATING")]
    assert [line.split(" s ")[0].strip() for line in told] == ["0", "30", "60", "90"]


def test_an_existing_cluster_with_the_name_must_be_as_wanted(account: Account) -> None:
    assert account.run("create", "--region", TOKYO).status == 0
    assert "is in one Region only, which cannot be changed" in complaint(account.create())
    account.clusters.clear()

    assert account.run("create", "--region", "eu-west-1", "--region", "eu-west-2", "--witness", "eu-west-3").status == 0
    other = account.run("create", "--region", "eu-west-1", "--region", "eu-west-2", "--witness", "eu-central-1")
    assert "has the witness eu-west-3, which cannot be changed" in complaint(other)
    other = account.run("create", "--region", "eu-west-1", "--region", "eu-central-1", "--witness", "eu-west-3")
    assert f"has another peer, {account.made('eu-west-2').arn}" in complaint(other)
    other = account.run("create", "--region", "eu-west-1")
    assert "has the witness eu-west-3, which cannot be changed" in complaint(other)
    account.clusters.clear()

    account.create()
    account.made(SEOUL).tags["dropzero:name"] = account.made(SEOUL).tags["Name"] = "another"
    assert account.create("--name", "another").status == 1
    account.clusters.append(account.made(TOKYO))
    assert f"there are two clusters named dropzero in {TOKYO}" in complaint(account.create())
    assert len(account.asked("CreateCluster")) == 5


def test_two_clusters_that_are_not_peers_are_never_taken_for_one_database(account: Account) -> None:
    account.create()
    for made in account.clusters:
        made.peers.clear()
    run = account.create()
    assert run.status == 1
    assert "was set up without a peer" in complaint(run)

    account.made(SEOUL).status = "UPDATING"
    account.made(SEOUL).until = 1000.0
    account.made(TOKYO).peers.append(account.made(SEOUL).arn)
    account.refuse(SEOUL, "UpdateCluster", Refusal("ConflictException", "the cluster is UPDATING", 409))
    assert "is being changed just now; wait a little" in complaint(account.create())


def test_a_peer_that_is_lost_during_creation_is_noticed() -> None:
    class Forgetful(Account):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.made(SEOUL).peers.clear()

    run = Forgetful().create()
    assert (run.status, run.out) == (1, "")
    assert f"in {SEOUL} is ACTIVE without the peer that it was given: these are not one database" in complaint(run)


def test_missing_protection_is_noted(account: Account) -> None:
    account.create("--no-deletion-protection")
    run = account.create()
    assert run.status == 0
    assert f"note: {account.made(TOKYO).id} in {TOKYO} was made without deletion protection" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--witness", "us-west-2"], "the witness of Tokyo and Seoul must be in the same Region set: ap-northeast-3"),
        (["--name", "Drop Zero"], "'Drop Zero' cannot be a cluster's name"),
        (["--name", "a" * 41], "cannot be a cluster's name"),
        (["--tag", "Team"], "'Team' cannot be a tag"),
        (["--tag", "=drops"], "'=drops' cannot be a tag"),
        (["--tag", "Team=dröps"], "'Team=dröps' cannot be a tag"),
        (["--tag", f"Team={'x' * 257}"], "cannot be a tag"),
        (["--tag", "aws:team=drops"], "the tag aws:team is not yours to set"),
        (["--tag", "dropzero:name=x"], "the tag dropzero:name is not yours to set"),
        (["--tag", "Team=a", "--tag", "Team=b"], "the tag Team is given twice"),
    ],
)
def test_wrong_use_ends_with_status_2_before_aws_is_called(account: Account, arguments: list[str], said: str) -> None:
    run = account.create(*arguments)
    assert (run.status, run.out, account.calls) == (2, "", [])
    assert said in complaint(run)


def test_the_timeout_has_bounds(account: Account) -> None:
    for timeout in ("0", "-1", "7201", "soon"):
        assert (account.create("--timeout", timeout).status, account.calls) == (2, [])
