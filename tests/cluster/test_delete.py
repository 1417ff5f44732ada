"""`dropzero cluster delete`: never by accident, and peers together."""

import pytest

from tests.cluster.account import TEARING_DOWN, Account, Cut, Refusal

TOKYO, SEOUL = "ap-northeast-1", "ap-northeast-2"
ALL = ("delete", "--yes", "--remove-protection")


@pytest.fixture
def account() -> Account:
    """An account with two peers, and without calls."""
    account = Account()
    assert account.create().status == 0
    account.calls.clear()
    account.now = 0.0
    return account


def untouched(account: Account) -> bool:
    """Whether no change was requested."""
    return account.asked("UpdateCluster", "DeleteCluster") == [] and len(account.clusters) == 2


def test_what_is_protected_is_not_deleted(account: Account) -> None:
    run = account.run("delete", "--yes")
    assert (run.status, untouched(account)) == (1, True)
    tokyo, seoul = account.made(TOKYO).id, account.made(SEOUL).id
    assert run.err == (
        f"dropzero: deletion protection is on for {tokyo} in {TOKYO}, {seoul} in {SEOUL}; nothing was deleted; give "
        "--remove-protection to delete them with all that is in them\n"
    )


def test_it_asks_for_the_name_and_accepts_no_other_answer(account: Account) -> None:
    for typed in ("y\n", "yes\n", "Dropzero\n"):
        run = account.run("delete", "--remove-protection", answer=typed)
        assert (run.status, untouched(account)) == (1, True)
        assert f"nothing was deleted: '{typed.strip()}' is not dropzero" in run.err
    assert account.run("delete", "--remove-protection", answer="dropzero\n").status == 0
    assert account.clusters == []


def test_where_nobody_can_answer_it_says_so(account: Account) -> None:
    run = account.run("delete", "--remove-protection")
    assert (run.status, untouched(account)) == (2, True)
    assert run.err.endswith("dropzero: nothing was deleted; type the name when asked, or give --yes\n")


def test_peers_lose_their_protection_and_then_go_together(account: Account) -> None:
    tokyo, seoul = account.made(TOKYO).id, account.made(SEOUL).id
    run = account.run(*ALL)
    assert (run.status, account.clusters, account.now) == (0, [], TEARING_DOWN)
    assert [(region, operation) for region, operation, _ in account.asked("UpdateCluster", "DeleteCluster")] == [
        (TOKYO, "UpdateCluster"),
        (SEOUL, "UpdateCluster"),
        (TOKYO, "DeleteCluster"),
        (SEOUL, "DeleteCluster"),
    ]
    assert run.out.endswith(f"Deleted: {tokyo} in {TOKYO}, {seoul} in {SEOUL}.\n")
    assert run.err.splitlines() == [
        f"   0 s  {TOKYO} has taken the deletion protection off {tokyo}",
        f"   0 s  {SEOUL} has taken the deletion protection off {seoul}",
        f"   0 s  {TOKYO} DELETING, {SEOUL} DELETING",
        f"  10 s  {TOKYO} has deleted {tokyo}",
        f"  10 s  {SEOUL} has deleted {seoul}",
    ]


@pytest.mark.parametrize("found_by", ["name", "id"])
def test_a_peer_goes_too_where_only_one_was_named(account: Account, found_by: str) -> None:
    by_id = ("--id", account.made(SEOUL).id) if found_by == "id" else ()
    assert account.run(*ALL, "--region", SEOUL, *by_id).status == 0
    assert account.clusters == []


def test_the_name_of_others_is_left_alone(account: Account) -> None:
    assert account.create("--name", "another").status == 0
    assert account.run(*ALL).status == 0
    assert {made.tags["dropzero:name"] for made in account.clusters} == {"another"}


def test_nothing_to_delete_is_no_failure(account: Account) -> None:
    run = account.run(*ALL, "--name", "another", "--region", TOKYO)
    assert (run.status, run.out) == (0, f"Nothing to delete: there is no cluster another in {TOKYO}.\n")


def test_a_region_that_cannot_be_searched_stops_it(account: Account) -> None:
    account.refuse("us-east-1", "ListClusters", Refusal("AccessDeniedException", http=403))
    run = account.run(*ALL)
    assert (run.status, untouched(account)) == (1, True)
    assert "may not do dsql:ListClusters in us-east-1" in run.err


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.slow
def test_the_next_run_continues_one_that_was_interrupted_at_any_call(when: str) -> None:
    whole = Account()
    whole.create()
    whole.calls.clear()
    whole.run(*ALL, "--region", TOKYO)
    for number in range(1, len(whole.calls) + 1):
        account = Account()
        account.create()
        account.calls.clear()
        setattr(account, f"cut_{when}", number)
        with pytest.raises(Cut):
            account.run(*ALL, "--region", TOKYO)
        account.cut_before = account.cut_after = None
        # Where one is gone already, the name finds the other one.
        run = account.run(*ALL, "--region", TOKYO, "--region", SEOUL)
        assert (run.status, account.clusters) == (0, []), (number, run.err)


def test_a_pair_that_was_never_finished_is_deleted() -> None:
    for number in range(3, 8):
        account = Account(cut_before=number)
        with pytest.raises(Cut):
            account.create()
        account.cut_before = None
        assert account.run(*ALL, "--region", TOKYO, "--region", SEOUL).status == 0
        assert account.clusters == [], number


def test_the_deletion_of_a_cluster_that_is_still_changing_is_tried_again(account: Account) -> None:
    changing = Refusal("ConflictException", "the cluster is UPDATING", 409)
    account.refuse(TOKYO, "DeleteCluster", changing, changing)
    assert account.run(*ALL).status == 0
    assert account.clusters == []


def test_a_cluster_that_goes_after_it_was_read_is_no_failure(account: Account) -> None:
    gone = Refusal("ResourceNotFoundException", "gone", 404, {"resourceId": "x", "resourceType": "cluster"})
    account.refuse(TOKYO, "DeleteCluster", gone)
    assert account.run(*ALL).status == 0
    assert account.clusters == []


def test_a_cluster_that_waits_for_its_peer_is_shown_so(account: Account) -> None:
    account.refuse(SEOUL, "DeleteCluster", Refusal("ConflictException", "the cluster is UPDATING", 409))
    run = account.run(*ALL)
    assert (run.status, account.clusters) == (0, [])
    assert f"   0 s  {TOKYO} PENDING_DELETE (until its peer is deleted, too), {SEOUL} ACTIVE" in run.err


def test_the_wait_has_a_deadline_and_says_what_stood_in_the_way(account: Account) -> None:
    account.refuse(TOKYO, "DeleteCluster", *[Refusal("ConflictException", "a backup is running", 409)] * 50)
    run = account.run(*ALL, "--timeout", "60")
    assert run.status == 1
    complaint = run.err.splitlines()[-1]
    assert complaint.startswith(f"dropzero: not gone after 60 s: {TOKYO} ACTIVE, {SEOUL} PENDING_DELETE")
    assert "run the same command again to go on waiting" in complaint
    assert complaint.endswith(f"AWS says in {TOKYO}: a backup is running")
