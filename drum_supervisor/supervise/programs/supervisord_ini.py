"""What the configuration file says to supervisord: further programs, and how ours are to run.

supervisord itself ignores what it does not know. Here every key is either honoured, or refused with the place where it
stands and with what takes its place.
"""

import glob
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from drum_supervisor.config.ini import CONFIG_SECTION, Section, read
from drum_supervisor.config.parsers import YES, switch
from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.log_records import SUPERVISOR
from drum_supervisor.supervise.programs import supervisord_keys as keys
from drum_supervisor.supervise.programs.program import ERROR_SERVER, EXPORTER, MODEL_SERVER, STAND_IN

COMMENTS = (";", "#")  # as supervisord reads them
ESSENTIAL = "essential"

_OURS = (MODEL_SERVER, ERROR_SERVER, STAND_IN, EXPORTER)


@dataclass(frozen=True)
class ExtraPrograms:
    """What the file adds to the rendered configuration.

    Attributes:
        supervisord: keys of its section [supervisord].
        ours: keys for the sections of our own programs, by group.
        sections: all others, as they are to be rendered.
        essential: names of the programs that the supervisor does not outlive.
        warnings: sentences.
    """

    supervisord: Mapping[str, str] = field(default_factory=dict)
    ours: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    essential: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def has_directory(self) -> bool:
        """Whether a program of ours runs in a directory of its own: relative paths of its arguments would move."""
        return any("directory" in values for values in self.ours.values())


def further(path: str, environ: Mapping[str, str]) -> ExtraPrograms:
    """Return what the file at `path` says to supervisord; without a path nothing.

    Raises:
        UsageError: it says what cannot be honoured.
    """
    if not path:
        return ExtraPrograms()
    sections, warnings = _with_included(path, environ)
    kept = [section for section in sections if _is_kept(section)]
    common = next((section.values for section in kept if section.name == "supervisord"), {})
    inherited = {key: value for key, value in common.items() if key in keys.INHERITED}
    ours = {_name(section): section.values for section in kept if _is_ours(section)}
    others = [section for section in kept if section.name != "supervisord" and not _is_ours(section)]
    return ExtraPrograms(
        supervisord={
            key: value for key, value in common.items() if key in keys.ALLOWED["supervisord"] - keys.INHERITED
        },
        ours={group: {**inherited, **ours.get(group, {})} for group in _OURS},
        sections=tuple(_rendered(section, inherited) for section in others),
        essential=frozenset(_name(section) for section in others if _is_essential(section)),
        warnings=(*warnings, *(warning for section in others for warning in _warnings(section))),
    )


def absolute(settings: Settings) -> Settings:
    """Return settings that mean the same when a program of ours runs in another directory."""
    paths = {name: getattr(settings, name) for name in ("code_dir", "class_labels_file")}
    return replace(settings, **{name: os.path.abspath(path) for name, path in paths.items() if path})


# --- files


def _with_included(path: str, environ: Mapping[str, str]) -> tuple[list[Section], list[str]]:
    """Return the sections of the file and of those that it includes."""
    sections, warnings = _read(path), []
    if not sections:
        raise UsageError(f"--config: {path!r} has no section, like [{CONFIG_SECTION}] or [program:NAME].")
    include = next((section for section in sections if section.name == "include"), None)
    for pattern in _patterns(include, environ) if include else ():
        files = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(path)), pattern)))
        if not files:
            warnings.append(f"--config: no file matches {pattern!r}, which {path!r} includes")
        for included in files:
            sections += _unless_twice(sections, _read(included))
    return [section for section in sections if section is not include], warnings


def _read(path: str) -> list[Section]:
    here = os.path.dirname(os.path.abspath(path)).replace("%", "%%")
    return [
        replace(section, values={key: value.replace("%(here)s", here) for key, value in section.values.items()})
        for section in read(path, COMMENTS)
    ]


def _patterns(include: Section, environ: Mapping[str, str]) -> list[str]:
    expansions = {f"ENV_{name}": value for name, value in environ.items()} | {"host_node_name": platform.node()}
    try:
        return (include.values.get("files", "") % expansions).split()
    except (KeyError, ValueError, TypeError) as error:
        raise _refused(include, "files", f"cannot be expanded: {error}") from error


def _unless_twice(sections: Iterable[Section], included: Iterable[Section]) -> Iterator[Section]:
    before = {section.name: section for section in sections}
    for section in included:
        if section.name in (CONFIG_SECTION, "include"):
            raise UsageError(f"--config: {section.where()}: [{section.name}] cannot be in a file that is included.")
        if section.name in before:
            where = before[section.name].where()
            raise UsageError(f"--config: {section.where()}: [{section.name}] is in {where} already.")
        yield section


# --- what may be said


def _is_kept(section: Section) -> bool:
    """Return whether a section is for supervisord, and is rendered.

    Raises:
        UsageError: it, or something in it, is refused.
    """
    kind = section.name.partition(":")[0]
    if section.name == CONFIG_SECTION or kind in keys.FOR_OTHERS:
        return False
    if kind == "rpcinterface":
        return _check_namespace(section)
    if kind in keys.REFUSED_SECTIONS:
        raise UsageError(f"--config: {section.where()}: [{section.name}] is refused: {keys.REFUSED_SECTIONS[kind]}.")
    if kind not in keys.ALLOWED:
        raise UsageError(f"--config: {section.where()}: there is no section [{section.name}].")
    if ":" in section.name and kind != "inet_http_server":
        _check_name(section)
    _check_keys(section, f"program:{_name(section)}" if _is_ours(section) else kind)
    return True


def _check_namespace(section: Section) -> bool:
    """supervisord's own namespace, which each of its files has, is there anyway; others would be code within us."""
    standard = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
    if section.name != "rpcinterface:supervisor" or dict(section.values) != standard:
        raise UsageError(f"--config: {section.where()}: [{section.name}] is refused: it runs code in the supervisor.")
    return False


def _check_name(section: Section) -> None:
    name = _name(section)
    if not _is_ours(section) and (name in (*_OURS, SUPERVISOR) or name.startswith(MODEL_SERVER)):
        raise UsageError(f"--config: {section.where()}: [{section.name}] is refused: {name} is a name of ours.")
    for member in section.values.get("programs", "").replace(",", " ").split():
        if member in _OURS:
            raise _refused(section, "programs", f"{member} belongs to no group")


def _check_keys(section: Section, kind: str) -> None:
    for key, value in section.values.items():
        if key in keys.ALLOWED[kind]:
            continue
        if kind == "supervisord" and key == "nodaemon" and value.lower() in YES:
            continue
        reason = keys.REFUSED.get(kind, {}).get(key, "there is no such key")
        raise _refused(section, key, reason)
    if kind in ("program", "eventlistener") and not section.values.get("command"):
        raise UsageError(f"--config: {section.where()}: [{section.name}] has no command.")
    if kind == "program":
        _is_essential(section)


def _is_essential(section: Section) -> bool:
    try:
        return switch(section.values.get(ESSENTIAL, "false"))
    except ValueError as error:
        raise _refused(section, ESSENTIAL, str(error)) from error


def _refused(section: Section, key: str, reason: str) -> UsageError:
    return UsageError(f"--config: {section.where(key)}: {key!r} in [{section.name}] is refused: {reason}.")


def _is_ours(section: Section) -> bool:
    return section.name in (f"program:{MODEL_SERVER}", f"program:{ERROR_SERVER}")


def _name(section: Section) -> str:
    return section.name.partition(":")[2]


# --- what becomes of it


def _rendered(section: Section, inherited: Mapping[str, str]) -> Section:
    """Return a section as supervisord is to read it: output goes through us unless it has a file of its own."""
    values = {key: value for key, value in section.values.items() if key != ESSENTIAL}
    kind = section.name.partition(":")[0]
    if kind in ("program", "eventlistener"):
        values = {**inherited, **values}
        for stream in ("stdout", "stderr"):
            values[f"{stream}_logfile"] = _destination(section, stream)
    return replace(section, values=values)


def _destination(section: Section, stream: str) -> str:
    given = section.values.get(f"{stream}_logfile", "AUTO")
    if section.name.startswith("eventlistener:") and stream == "stdout":  # its stdout is the protocol
        return given if given != "AUTO" and given not in keys.OURS else "NONE"
    return keys.OURS.get(given, f"/dev/{stream}" if given.upper() == "AUTO" else given)


def _warnings(section: Section) -> Iterator[str]:
    if section.name.startswith("inet_http_server") and not section.values.get("password"):
        port = section.values.get("port", "")
        yield f"whoever reaches {port} controls this supervisor: [{section.name}] has no username and password"
