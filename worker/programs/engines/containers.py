"""Runs images of a site by an engine."""

from collections.abc import Sequence
from functools import cache
from socket import socket

from worker.programs.engines.container_argv import (
    Container,
    apptainer_argv,
    apptainer_variables,
    image_argv,
    long_variables,
    write_variables,
)
from worker.programs.engines.docker_network import NETWORK, DockerNetwork
from worker.programs.engines.engine import (
    Apptainer,
    Engine,
    ImageEngine,
    chosen_engine,
    is_root,
)
from worker.programs.engines.engine_call import (
    EngineError,
    client_environment,
    unavailable,
)
from worker.programs.engines.labels import container_name, labels, remove_leftovers
from worker.programs.engines.own_network import OwnNetwork
from worker.programs.interface import Grant, Isolation, Mount, ProgramRun
from worker.programs.isolation.client import SupervisedProgram
from worker.programs.isolation.commands import OUTPUT, hosts_text, named_below_tmp
from worker.programs.isolation.grants import offered
from worker.programs.isolation.request import Bind, Request

_LOOPBACK = "127.0.0.1"
_TMP = "/tmp"  # noqa: S108 - the container's own
_HINT = "`slidelane doctor` says what the engine of this machine can do"


class ContainerProgram(SupervisedProgram):
    """A `RunningProgram` in a container of podman that may have a network of its own."""

    def __init__(self, request: Request, network: OwnNetwork | None) -> None:
        super().__init__(request)
        self._network = network

    @property
    def listeners(self) -> Sequence[socket]:
        """The sockets that listen in the container's own network."""
        if self._network is None:
            return super().listeners
        return self._network.listeners

    def _await_end(self, limit_s: float) -> None:
        super()._await_end(limit_s)
        if self._network is not None:
            self._network.close()


class PodmanIsolation:
    """Runs images by podman, each in a network of its own; an `Isolation`."""

    shows_mounts = True
    receiver_host = _LOOPBACK

    def __init__(self, engine: ImageEngine) -> None:
        """Find out whether networks can be made, and remove what killed workers left."""
        self._engine = engine
        self._refusal = _network_refusal(engine)
        self.has_own_network = not self._refusal
        _remove_leftovers(engine)

    def granted(self) -> tuple[Grant, ...]:
        """Return what podman grants on this machine."""
        lost = f"a program reaches whatever this machine reaches ({self._refusal})"
        return _engine_grants(Grant("network", self.has_own_network, lost))

    def start(self, run: ProgramRun) -> ContainerProgram:
        """Start a container. Raise OrderError where that is not possible."""
        check_image(self._engine, run)
        network = None
        where = "host"
        if self.has_own_network:
            try:
                network = OwnNetwork(self._engine, run.listen)
            except EngineError as error:
                raise unavailable(f"podman gives no network to the image: {error}", _HINT) from None
            where = network.path
        mounts = [_tmp_mount(run), *run.mounts]
        try:
            request = _image_request(self._engine, run, where, mounts, tmp_is_volume=False)
            return ContainerProgram(request, network)
        except BaseException:
            if network is not None:
                network.discard()
            raise


class DockerIsolation:
    """Runs images by docker, in a network that leads to this machine alone; an `Isolation`."""

    shows_mounts = True
    has_own_network = False

    def __init__(self, engine: ImageEngine) -> None:
        """Make the network, and remove what killed workers left. Raise OrderError."""
        self._engine = engine
        engine.version()
        try:
            self._network = DockerNetwork(engine)
        except EngineError as error:
            raise unavailable(f"docker has no network for programs: {error}", _HINT) from None
        self.receiver_host = self._network.address
        _remove_leftovers(engine)

    def granted(self) -> tuple[Grant, ...]:
        """Return what docker grants on this machine."""
        return _engine_grants(Grant("network", is_granted=True))

    def start(self, run: ProgramRun) -> SupervisedProgram:
        """Start a container. Raise OrderError where that is not possible."""
        check_image(self._engine, run)
        # What a container's root has written, only root can remove. A volume goes with it.
        tmp_is_volume = not is_root()
        mounts = list(run.mounts)
        if not tmp_is_volume:
            mounts.insert(0, _tmp_mount(run))
        try:
            mounts = self._network.outside(mounts)
        except EngineError as error:
            raise unavailable(str(error), _HINT) from None
        return SupervisedProgram(
            _image_request(self._engine, run, NETWORK, mounts, tmp_is_volume=tmp_is_volume)
        )


class ApptainerIsolation:
    """Runs images by apptainer, within the namespaces that commands have; an `Isolation`."""

    shows_mounts = True
    receiver_host = _LOOPBACK

    def __init__(self, engine: Apptainer) -> None:
        """Find out what the machine grants."""
        self._engine = engine
        self._offer = offered()
        self.has_own_network = self._offer.own_network

    def granted(self) -> tuple[Grant, ...]:
        """Return what this machine grants."""
        return self._offer.grants

    def start(self, run: ProgramRun) -> SupervisedProgram:
        """Start a container. Raise OrderError where that is not possible."""
        check_image(self._engine, run)
        hosts_file = run.scratch / "hosts"
        hosts_file.write_text(hosts_text(run))
        tmp = _tmp_mount(run)
        mounts = [tmp, Mount(hosts_file, "/etc/hosts"), *run.mounts]
        argv = apptainer_argv(self._engine, run, mounts)
        binds = [Bind(str(mount.source), str(mount.source), mount.writable) for mount in mounts]
        binds += [Bind(str(path), str(path)) for path in named_below_tmp([argv[0], run.image])]
        request = Request(
            argv=tuple(argv),
            environment={**client_environment(), **apptainer_variables(run)},
            folder=str(tmp.source),
            scratch=str(run.scratch),
            output=str(run.scratch / OUTPUT),
            max_output_bytes=run.max_output_bytes,
            time_limit_s=run.time_limit_s,
            confined=False,  # it makes the container's namespaces
            namespaces=self._offer.namespaces,
            own_network=self._offer.own_network,
            binds=tuple(binds),
            gpus=run.limits.gpus != (),
            listen=tuple((address.host, address.port) for address in run.listen),
            cpus=run.limits.cpus,
            memory_bytes=run.limits.memory_bytes,
            disk_bytes=run.limits.disk_bytes,
            cgroup=self._offer.cgroup,
        )
        return SupervisedProgram(request)


@cache
def container_isolation(engine_name: str = "") -> Isolation:
    """Return what runs images by this engine, by default by the first that is there.

    Raise OrderError where there is none.
    """
    engine = chosen_engine(engine_name)
    if isinstance(engine, Apptainer):
        return ApptainerIsolation(engine)
    if not isinstance(engine, ImageEngine):
        raise TypeError(f"{engine.name} is no engine of ours")
    if engine.name == "docker":
        return DockerIsolation(engine)
    return PodmanIsolation(engine)


def check_image(engine: Engine, run: ProgramRun) -> None:
    """Raise OrderError where the image of the run is not on this machine."""
    require(engine, run.image)


def require(engine: Engine, image: str) -> str:
    """Return the digest of the image. Raise OrderError where the engine does not have it."""
    digest = engine.digest(image)
    if digest is None:
        fetch = f"{engine.name} pull {image}"
        if isinstance(engine, Apptainer):
            fetch = "apptainer pull NAME.sif docker://IMAGE"
        raise unavailable(
            f"{engine.name} has no image {image} on this machine",
            f"fetch it: `{fetch}` as the user of the worker",
        )
    return digest


def _image_request(
    engine: ImageEngine,
    run: ProgramRun,
    network: str,
    mounts: list[Mount],
    *,
    tmp_is_volume: bool,
) -> Request:
    """Return the run of the engine's client, which is followed by the removal of the container."""
    name = container_name(run)
    container = Container(name, labels(run), network, tuple(mounts), tmp_is_volume)
    write_variables(run)
    last = [(engine.program, "rm", "--force", "--volumes", name)]
    if engine.name == "podman" and not is_root():
        # Files of other users of the container belong to ids that only podman can act for.
        last.append((engine.program, "unshare", "rm", "-rf", str(run.scratch / "tmp")))
    long = {variable: run.environment[variable] for variable in long_variables(run.environment)}
    return Request(
        argv=tuple(image_argv(engine, run, container)),
        environment={**long, **client_environment()},
        folder=str(run.scratch),
        scratch=str(run.scratch),
        output=str(run.scratch / OUTPUT),
        max_output_bytes=run.max_output_bytes,
        time_limit_s=run.time_limit_s,
        confined=False,
        watches_memory=False,
        disk_bytes=run.limits.disk_bytes,
        last_commands=tuple(last),
    )


def _tmp_mount(run: ProgramRun) -> Mount:
    tmp = run.scratch / "tmp"
    tmp.mkdir(exist_ok=True)
    tmp.chmod(0o1777)
    return Mount(tmp, _TMP, writable=True)


def _network_refusal(engine: ImageEngine) -> str:
    """Return why no network of a container's own can be made, empty if one was made."""
    try:
        OwnNetwork(engine, ()).close()
    except EngineError as error:
        return str(error)
    return ""


def _remove_leftovers(engine: ImageEngine) -> None:
    try:
        remove_leftovers(engine)
    except EngineError:
        return  # the next start tries again


def _engine_grants(network: Grant) -> tuple[Grant, ...]:
    """Return what an engine grants: all that makes a container, and perhaps its network."""
    names = ("processes", "files", "memory and processors")
    return (*(Grant(name, is_granted=True) for name in names), network)


def image_digest(image: str, engine_name: str = "") -> str | None:
    """Return the digest of an image, None where it is not on this machine. Raises OrderError."""
    return chosen_engine(engine_name).digest(image)
