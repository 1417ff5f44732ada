"""Deployment: the image, the application that a platform loads, and docs/deployment.md."""

import ast
import asyncio
import json
import re
import shlex
import sys
import tomllib
from asyncio.subprocess import PIPE
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from api.app import CLOSE_GRACE
from api.cluster import access
from api.cluster.control_plane import Cluster
from api.server import shutdown_timeout
from api.settings import read_settings
from tests.command import ended, environment, started
from tests.links import dead_links
from tests.log_lines import unlogged
from tests.options import command_of, names_that_are_read
from tests.patience import PATIENCE
from tests.server import Server

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = re.sub(r"\\\n *", "", text).splitlines()
    return [(name, value) for name, _, value in (line.partition(" ") for line in lines if line)]


def last(name: str) -> str:
    """The value of the Dockerfile's last instruction of that name."""
    return [value for instruction, value in instructions() if instruction == name][-1]


class TestImage:
    def test_it_runs_as_a_user_with_a_number_other_than_roots(self) -> None:
        user, _, group = last("USER").partition(":")
        assert int(user) >= 1000
        assert int(group) >= 1000
        names = [name for name, _ in instructions()]
        assert names.index("USER") > len(names) - 1 - names[::-1].index("FROM"), "in the last stage"
        assert "ROOT" not in names[names.index("USER") :]

    def test_it_has_no_secret_and_needs_none_to_be_built(self) -> None:
        assert {name for name, _ in instructions()} & {"ARG", "ADD"} == set()
        assert not re.search(r"(?i)token|secret|password|aws_", last("ENV"))
        assert [value for name, value in instructions() if name == "COPY"][-1].startswith("--from=build ")

    def test_the_build_copies_exactly_the_sources_of_the_wheel(self) -> None:
        copied = {
            source
            for name, value in instructions()
            if name == "COPY" and not value.startswith("--from")
            for source in value.split()[:-1]
        }
        ignore = (ROOT / ".dockerignore").read_text().split()
        assert ignore[0] == "*", "only what is named gets in"
        assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == copied
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
        metadata = project["project"]
        made_of = {*wheel["only-include"], metadata["readme"], *metadata["license-files"], "pyproject.toml"}
        assert copied == made_of | {"constraints.txt"}, "and the versions of the packages beside it"
        [install] = [value for name, value in instructions() if name == "RUN" and "pip install" in value]
        assert "-c constraints.txt" in install
        assert all((ROOT / source).exists() for source in copied)

    def test_it_serves_on_every_address_at_the_port_that_it_exposes(self) -> None:
        entrypoint, command = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
        assert entrypoint == ["dropzero"]
        assert (parsed(command)["host"], parsed(command)["port"]) == ("0.0.0.0", int(last("EXPOSE")))  # noqa: S104
        assert f"DROPZERO_PORT={last('EXPOSE')}" in last("ENV").split()

    async def test_its_health_check_fails_without_a_server_that_answers(self, server: Server) -> None:
        command = last("HEALTHCHECK").partition("CMD ")[2]
        program, *arguments = json.loads(command)
        assert program == "python"

        async def check(port: int | None) -> int | None:
            env = environment({"DROPZERO_PORT": str(port)})
            async with started(sys.executable, *arguments, env=env, stdout=PIPE, stderr=PIPE) as process:
                return (await ended(process)).status

        assert await check(urlsplit(server.url).port) == 0
        assert await check(9) == 1

    def test_the_page_gives_a_stop_the_time_of_a_purchase_in_flight(self) -> None:
        assert last("STOPSIGNAL") == "SIGTERM"
        longest = shutdown_timeout(read_settings({}))
        assert f"transaction and its COMMIT, {longest} s with the usual settings" in " ".join(PAGE.split())
        graces = re.findall(r"`stopTimeout` to (\d+)|terminationGracePeriodSeconds` to (\d+)|--time (\d+)", PAGE)
        seconds = [int("".join(found)) for found in graces]
        assert len(seconds) == 3
        assert all(grace >= longest + CLOSE_GRACE + 5 for grace in seconds)


def parsed(arguments: list[str]) -> dict[str, object]:
    """The values of the options that `dropzero` parses from the arguments of one of its commands."""
    context = command_of(arguments[:1]).make_context(arguments[0], arguments[1:], resilient_parsing=True)
    return dict(context.params)


class TestVercel:
    def test_vercel_sends_every_request_to_the_one_application(self) -> None:
        config = json.loads((ROOT / "vercel.json").read_text())
        [build], [route] = config["builds"], config["routes"]
        assert route["dest"] == f"/{build['src']}"
        assert all(re.fullmatch(route["src"], path) for path in ("/", "/graphql", "/storefront.js"))
        [assigned] = [
            target.id
            for node in ast.parse((ROOT / build["src"]).read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        assert assigned == "app", "the name that the runtime looks for"
        left_out = re.fullmatch(r"\{([a-z,]+)\}/\*\*", build["config"]["excludeFiles"])
        assert left_out is not None
        assert not {"api", "migrations"} & set(left_out[1].split(","))
        assert all((ROOT / folder).is_dir() for folder in left_out[1].split(","))

    @pytest.mark.slow
    async def test_the_application_serves_before_the_first_token_has_come(self) -> None:
        uvicorn = [sys.executable, "-m", "uvicorn", "api.asgi:app", "--port", "0"]
        env = environment(
            {
                "DROPZERO_ENDPOINTS": "ap-northeast-1=dsql://app@" + "a" * 26 + ".dsql.ap-northeast-1.on.aws",
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/dropzero-server",
                "VERCEL": "1",
                "VERCEL_URL": "shop.vercel.app",
            }
        )
        async with started(*uvicorn, env=env, cwd=ROOT, stderr=PIPE) as serving, asyncio.timeout(PATIENCE):
            assert serving.stderr is not None
            url = await first_match(serving.stderr, r"http://127\.0\.0\.1:(\d+)")
            async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
                assert answer.status == 200
                assert answer.headers.getall("x-content-type-options") == ["nosniff"]
                for host, status in {"shop.vercel.app": 404, "evil.example": 421}.items():
                    async with session.get(f"{url}/static/nothing", headers={"host": host}) as other:
                        assert other.status == status
                        assert other.headers.getall("x-content-type-options") == ["nosniff"]

    async def test_without_endpoints_it_does_not_serve_an_empty_database(self) -> None:
        load = [sys.executable, "-c", "import api.asgi"]
        async with started(*load, env=environment({}), cwd=ROOT, stdout=PIPE, stderr=PIPE) as process:
            run = await ended(process)
        assert run.status == 1
        reason = "DROPZERO_ENDPOINTS: set it; the embedded PostgreSQL comes with `dropzero serve` alone"
        assert run.err.splitlines()[-1].endswith(reason)


async def first_match(stream: asyncio.StreamReader, pattern: str) -> str:
    """The first match of the pattern in the lines of a stream. Fails at the end of the stream."""
    text = ""
    while not (match := re.search(pattern, text)):
        line = (await stream.readline()).decode()
        assert line, text
        text += line
    return match[0]


class TestPage:
    def test_every_named_variable_is_read(self) -> None:
        named = set(re.findall(r"\b(?:DROPZERO|AWS)_[A-Z_]+\b", PAGE))
        assert named >= {"DROPZERO_ENDPOINTS", "DROPZERO_REGION", "DROPZERO_ADMIN_TOKEN", "AWS_ROLE_ARN"}
        assert named - names_that_are_read() - {"AWS_PROFILE"} == set()

    def test_every_command_exists_with_its_options(self) -> None:
        commands = re.findall(r"(?:\$ (?:[A-Z_]+='[^']*' )?|`)dropzero ([a-z][^`\n]*)", PAGE)
        assert len(commands) > 10
        for text in commands:
            words = shlex.split(text)
            known = {name for option in command_of(words).params for name in (*option.opts, *option.secondary_opts)}
            assert {word for word in words if re.match("--[a-z]", word)} <= known, text

    def test_the_policy_and_the_sql_are_those_that_cluster_create_prints(self) -> None:
        clusters = [made_in("ap-northeast-1"), made_in("ap-northeast-2")]
        policies = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)]
        assert json.loads(access.server_policy(clusters)) in policies
        [sql] = re.findall(r"^```sql\n(.*?)^```", PAGE, re.M | re.S)
        statements = access.role_statements(access.server_role_arn(clusters, "dropzero-server"))
        assert sql.splitlines() == [f"{statement};" for statement in statements]

    def test_every_explained_line_of_the_log_is_logged_somewhere(self) -> None:
        lines = re.findall(r"^\| `([^`]+)` \|", PAGE.partition("| log line |")[2].partition("\n\n")[0], re.M)
        assert len(lines) > 5
        assert unlogged(lines) == []

    def test_every_link_leads_to_a_file_and_a_heading(self) -> None:
        assert dead_links(ROOT / "docs" / "deployment.md") == []


def made_in(region: str) -> Cluster:
    return Cluster(
        region=region,
        id="CLUSTER",
        arn=f"arn:aws:dsql:{region}:ACCOUNT:cluster/CLUSTER",
        status="ACTIVE",
        endpoint=f"CLUSTER.dsql.{region}.on.aws",
        peers=(),
        witness=None,
        protected=True,
        tags={},
    )
