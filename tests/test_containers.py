"""The Dockerfiles and compose files, read without Docker. deploy/try-compose.sh runs them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose_files import (
    ASSIGNMENT,
    PROFILES,
    VARIABLE,
    compose_file,
    example_variables,
    seconds,
    services,
)
from tests.support.pages import ROOT
from tests.test_docs_settings import EXPECTED

DOCKERFILES = {"Dockerfile.api": {"services"}, "Dockerfile.worker": {"worker"}}
FILES = [
    *DOCKERFILES,
    "docker-compose.yml",
    "docker-compose.override.example.yml",
    ".env.example",
    *(str(file.relative_to(ROOT)) for file in sorted((ROOT / "deploy").rglob("*.yml"))),
]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
HAND_BACK_S = 15
VARIABLES = {
    "REDIS_PASSWORD": "r",
    "REDIS_API_PASSWORD": "ra",
    "REDIS_WORKER_PASSWORD": "rw",
    "REDIS_FLOWER_PASSWORD": "rf",
    "FLOWER_PASSWORD": "f",
    "VIEWER_PASSWORD": "v" * 48,
    "SLIDELANE_BROKER__SECRET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "SLIDELANE_SERVICES__KEYS": json.dumps([{"name": "lab", "sha256": "0" * 64}]),
}


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile in their order, each as its name and arguments."""
    text = (ROOT / dockerfile).read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def normalized(library: str) -> str:
    """Return the name of a library as the index spells it."""
    return re.sub(r"[-_.]+", "-", library.strip()).lower()


def last(dockerfile: str, instruction: str) -> str:
    """Return the arguments of the last instruction of this name."""
    return [arguments for name, arguments in instructions(dockerfile) if name == instruction][-1]


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_holds_its_own_rooms_alone(dockerfile: str) -> None:
    """Packages that an image does not need are not copied, so its code cannot import them."""
    copied = {
        arguments.split()[0].rstrip("/")
        for name, arguments in instructions(dockerfile)
        if name == "COPY"
    }
    packages = {"broker", "services", "worker", "slidelane", "demo", "tests", "benchmarks"}
    assert copied & (packages | {"."}) == {"broker", "slidelane", *DOCKERFILES[dockerfile]}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_libraries_are_pinned_and_come_before_the_code(dockerfile: str) -> None:
    """A change of the code installs no library again; versions are those of the tests."""
    steps = instructions(dockerfile)
    install = next(
        i for i, (name, arguments) in enumerate(steps) if name == "RUN" and "pip" in arguments
    )
    code = next(
        i
        for i, (name, arguments) in enumerate(steps)
        if name == "COPY" and arguments.startswith("broker/")
    )
    assert install < code
    assert "--require-hashes" in steps[install][1]
    assert [arguments.split()[0] for name, arguments in steps if name == "FROM"] == ["${BASE}"] * 3
    assert steps[0] == ("ARG", "BASE=python:3.11.15-slim-bookworm")
    installs = [arguments for name, arguments in steps if name == "RUN" and "pip" in arguments]
    for arguments in installs:
        if arguments.endswith(" torch"):
            assert "-c constraints.txt" in arguments
        else:
            assert "--require-hashes" in arguments or "--no-deps" in arguments


@pytest.mark.parametrize("name", ["api", "worker", "build"])
def test_the_hashed_libraries_are_those_of_the_tests(name: str) -> None:
    """Each has hashes, and the version that `make setup` installs."""
    text = (ROOT / "deploy" / "requirements" / f"{name}.txt").read_text()
    blocks = re.findall(
        r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", text, re.M
    )
    hashed = {normalized(library): version for library, version, _ in blocks}
    assert len(hashed) == len(re.findall(r"^[a-z]", text, re.M))
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if line
    )
    pinned = {normalized(library): version for library, version in constraints.items()}
    assert {library: pinned.get(library) for library in hashed} == hashed


@pytest.mark.parametrize(
    ("name", "extras"), [("api", ("api", "watch", "s3")), ("worker", ("worker", "s3"))]
)
def test_every_dependency_of_an_image_has_its_hash(name: str, extras: tuple[str, ...]) -> None:
    """A dependency that is new in pyproject.toml must be in the file that the image installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    required = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    libraries = {normalized(re.split(r"[\[<>=;]", line)[0]) for line in required}
    text = (ROOT / "deploy" / "requirements" / f"{name}.txt").read_text()
    hashed = {normalized(library) for library in re.findall(r"^([\w.-]+)==", text, re.M)}
    assert libraries - hashed <= {"torch"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_nobody_under_an_init_and_can_be_asked(dockerfile: str) -> None:
    """The user is a number, because an orchestrator cannot see whether a name is root."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(dockerfile, "USER"))
    assert json.loads(last(dockerfile, "ENTRYPOINT")) == ["tini", "--"]
    assert re.search(
        r'CMD \["slidelane", "health", "(api|worker)"\]$', last(dockerfile, "HEALTHCHECK")
    )
    assert last(dockerfile, "LABEL").count("org.opencontainers.image.") >= 5


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_is_made_with_no_secret_and_no_address(dockerfile: str) -> None:
    """Everybody who has an image can read its ARG and ENV."""
    named = " ".join(
        arguments for name, arguments in instructions(dockerfile) if name in ("ARG", "ENV")
    )
    assert not SECRET.search(named)
    assert "://" not in (ROOT / dockerfile).read_text()


def test_the_builder_is_sent_the_rooms_and_nothing_else() -> None:
    """Data, `.env` and other files beside the code are not sent to the builder."""
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert rules[0] == "*"
    needed = {
        "broker",
        "services",
        "worker",
        "slidelane",
        "pyproject.toml",
        "constraints.txt",
        "deploy/requirements",
        "LICENSE",
        "NOTICE",
        "README.md",
    }
    assert {rule[1:] for rule in rules if rule[0] == "!"} == needed


@pytest.mark.parametrize("file", FILES)
def test_every_variable_of_the_container_files_is_a_setting(file: str) -> None:
    """A process refuses to start when it finds an unknown variable."""
    known = {row[0].strip("`") for row in EXPECTED.values()}
    named = {
        name.removesuffix("_FILE")
        for name in re.findall(r"SLIDELANE_[A-Z0-9_]+", (ROOT / file).read_text())
    }
    assert named <= known


def test_the_example_names_what_compose_asks_for() -> None:
    """`.env.example` has every variable of the compose files, and none without effect."""
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy" / "compose").glob("*.yml")]
    used = {name for file in files for name, _, _ in VARIABLE.findall(file.read_text())}
    passed_on = {"SLIDELANE_BROKER__SECRET_KEY"}
    assert set(example_variables()) == used | passed_on


def test_no_secret_has_a_default() -> None:
    """The example leaves secrets empty, and Compose refuses to start until they have a value."""
    text = (ROOT / ".env.example").read_text()
    active = dict(ASSIGNMENT.findall(re.sub(r"^#.*$", "", text, flags=re.MULTILINE)))
    assert {name for name, value in active.items() if SECRET.search(name) and value} == set()
    for name in VARIABLES:
        with pytest.raises(KeyError, match=name):
            services("cpu", {other: value for other, value in VARIABLES.items() if other != name})


def test_the_gpu_profile_is_the_one_without_a_word() -> None:
    """`docker compose up` without `.env` starts workers on GPUs."""
    assert services(None, VARIABLES) == services("gpu", VARIABLES)
    assert example_variables()["COMPOSE_PROFILES"] == "gpu"


def test_the_profiles_differ_in_the_device_alone() -> None:
    """Both profiles have a service `worker`, and only its device and image differ."""
    gpu, cpu = (services(name, VARIABLES)["worker"] for name in ("gpu", "cpu"))
    (device,) = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert gpu["environment"].pop("SLIDELANE_WORKER__DEVICE") == "cuda"
    assert cpu["environment"].pop("SLIDELANE_WORKER__DEVICE") == "cpu"
    assert (gpu.pop("image"), cpu.pop("image")) == ("slidelane-worker:gpu", "slidelane-worker:cpu")
    assert gpu == cpu


def test_worker_and_courier_have_the_same_settings_and_folders(profile: str) -> None:
    """Worker and courier exchange files, so both must find them at the same paths."""
    whole = services(profile, VARIABLES)
    worker = whole["worker"]
    courier = whole["courier"]
    own = {"SLIDELANE_WORKER__DEVICE"}
    assert {
        name: value for name, value in worker["environment"].items() if name not in own
    } == courier["environment"]
    models = "./models:/models:ro"  # only workers compute
    assert [volume for volume in worker["volumes"] if volume != models] == courier["volumes"]
    assert {worker["image"], worker["build"]["dockerfile"]} == {
        courier["image"],
        courier["build"]["dockerfile"],
    }


def test_names_and_ports_never_clash(profile: str) -> None:
    """No service has a fixed name, a scaled one publishes no port, and published ports differ."""
    whole = services(profile, VARIABLES)
    assert not [
        name
        for name, service in whole.items()
        if "container_name" in service or "hostname" in service
    ]
    published = [
        port.rsplit(":", 2)[1] for service in whole.values() for port in service.get("ports", ())
    ]
    assert len(published) == len(set(published)) == 2
    assert "ports" not in whole["worker"]


def test_every_service_is_locked_down(profile: str) -> None:
    """No writes to the image, no new privileges, and a restart after a failure."""
    for name, service in services(profile, VARIABLES).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert not {"privileged", "network_mode"} & set(service), name
        assert service.get("cap_add", []) == (
            ["CHOWN", "SETGID", "SETUID"] if name == "redis" else []
        ), name


def test_every_service_is_bounded(profile: str) -> None:
    """Memory and processes are limited; for a worker, processors can be limited too."""
    whole = services(profile, VARIABLES | {"WORKER_CPUS": "4"})
    assert {
        name: ("mem_limit" in service, service["pids_limit"]) for name, service in whole.items()
    } == dict.fromkeys(whole, (True, 4096))
    assert str(whole["worker"]["cpus"]) == "4"
    assert str(services(profile, VARIABLES)["worker"]["cpus"]) == "0", "0 means all processors"


def test_what_an_image_was_built_from_builds_nothing_else_anew() -> None:
    """Labels come last, so a new revision, which Compose passes on, invalidates no layer."""
    for dockerfile in DOCKERFILES:
        assert [name for name, _ in instructions(dockerfile)][-3:] == ["ARG", "ARG", "LABEL"]
    for service in services("cpu", VARIABLES | {"REVISION": "abc"}).values():
        assert "build" not in service or service["build"]["args"]["REVISION"] == "abc"


def test_the_override_gives_the_key_to_everybody_who_unseals() -> None:
    """Every process that decrypts orders gets the key from the example override."""
    text = (ROOT / "docker-compose.override.example.yml").read_text()
    for name in ("worker", "api", "courier"):
        part = text.partition(f"\n  {name}:\n")[2]
        assert "SLIDELANE_BROKER__SECRET_KEY_FILE" in re.split(r"\n  \w+:\n|\n\w", part)[0], name


def test_slides_can_only_be_read(profile: str) -> None:
    """Slides, models and settings are mounted read-only; the API writes what callers send alone,
    and the viewer nothing at all."""
    for name, service in services(profile, VARIABLES).items():
        for volume in service.get("volumes", ()):
            is_input = any(part in volume for part in ("/slides", "/models", "config.json"))
            if is_input or name == "viewer" or (name == "api" and volume != "uploads:/uploads"):
                assert volume.endswith(":ro"), (name, volume)


@pytest.mark.parametrize("grace_s", [None, "45"])
def test_a_stopped_worker_has_time_to_hand_its_work_back(profile: str, grace_s: str | None) -> None:
    """Docker waits for worker.grace_s and the time to hand work back before it kills."""
    variables = dict(VARIABLES)
    if grace_s:
        variables["SLIDELANE_WORKER__GRACE_S"] = grace_s
    for name in ("worker", "courier"):
        service = services(profile, variables)[name]
        allowed = float(service["environment"]["SLIDELANE_WORKER__GRACE_S"])
        assert seconds(service["stop_grace_period"]) >= allowed + HAND_BACK_S
        assert "redis" in service["depends_on"], (
            "Redis must stop after the services that hand work back to it"
        )


def test_redis_keeps_what_it_accepts_and_is_reached_by_nobody_else(profile: str) -> None:
    """Redis has the settings of docs/redis.md, a password and an internal network."""
    redis = services(profile, VARIABLES)["redis"]
    conf = redis["command"][-1]
    for line in (
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
        "requirepass $$REDIS_PASSWORD",
    ):
        assert line in conf
    assert (
        "exec setpriv --reuid=redis --regid=redis --clear-groups --inh-caps=-all redis-server -"
        in conf
    )
    assert (redis["image"], redis["networks"]) == ("redis:7.2.16-bookworm", ["record"])
    assert "ports" not in redis
    assert compose_file("docker-compose.yml", VARIABLES)["networks"]["record"] == {"internal": True}


def image_environment(dockerfile: str) -> dict[str, str]:
    """Return the settings that an image sets."""
    return dict(re.findall(r"(SLIDELANE_\w+)=(\S+)", last(dockerfile, "ENV")))


@pytest.mark.parametrize("name", ["api", "courier", "worker", "viewer", "flower"])
def test_the_settings_of_every_service_can_be_loaded(
    profile: str, name: str, tmp_path: Path
) -> None:
    """They are loaded as its process does, from the environments of image and service."""
    service: dict[str, Any] = services(profile, VARIABLES)[name]
    variables = {
        key: str(value) for key, value in service["environment"].items() if value is not None
    }
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environment |= image_environment(service["build"]["dockerfile"]) | variables
    command = [sys.executable, "-c", "from broker.settings.config import load; load()"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)


def test_the_viewer_is_reached_by_the_api_alone_and_reaches_nothing(profile: str) -> None:
    """It decodes files that nobody vouches for: no Redis, no way out, no key but the shared one."""
    whole = services(profile, VARIABLES)
    viewer = whole["viewer"]
    (network,) = viewer["networks"]
    assert [name for name, each in whole.items() if network in each["networks"]] == [
        "api",
        "viewer",
    ]
    assert compose_file("docker-compose.yml", VARIABLES)["networks"][network] == {"internal": True}
    assert "ports" not in viewer
    secrets = {key for key in viewer["environment"] if SECRET.search(key)}
    assert secrets == {"SLIDELANE_BROKER__VIEWER__SECRET"}
    host, _, port = viewer["environment"]["SLIDELANE_WORKER__VIEWER__BIND"].rpartition(":")
    assert host == "0.0.0.0"  # noqa: S104 - within its container
    asked = whole["api"]["environment"]
    assert asked["SLIDELANE_BROKER__VIEWER__URL"] == f"http://viewer:{port}"
    assert asked["SLIDELANE_BROKER__VIEWER__SECRET"] == "v" * 48
