"""The supervisord sections of the configuration file: extra programs, and how our own programs run.

supervisord itself ignores unknown keys. Here every key is either honoured, or refused with its line and an alternative.
"""

import glob
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from drum_supervisor.config.ini import CONFIG_SECTION, Section, read_sections
from drum_supervisor.config.parsers import YES, boolean
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.log_records import SUPERVISOR
from drum_supervisor.supervise.programs import supervisord_keys as keys
from drum_supervisor.supervise.programs.program import ERROR_SERVER, EXPORTER, MODEL_SERVER, STAND_IN

COMMENT_PREFIXES = (";", "#")  # as in supervisord
ESSENTIAL = "essential"

_OUR_GROUPS = (MODEL_SERVER, ERROR_SERVER, STAND_IN, EXPORTER)


@dataclass(frozen=True)
class ExtraPrograms:
    """What the file adds to the rendered configuration."""

    supervisord: Mapping[str, str] = field(default_factory=dict)  # keys of the section [supervisord]
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # keys of our own programs, by group
    sections: tuple[Section, ...] = ()  # all others, ready to be rendered
    essential: frozenset[str] = frozenset()  # programs whose end ends the supervisor
    warnings: tuple[str, ...] = ()

    @property
    def changes_directory(self) -> bool:
        """Whether one of our programs runs in another directory, where relative paths would mean other files."""
        return any("directory" in values for values in self.overrides.values())


def read_extra_programs(path: str, environ: Mapping[str, str]) -> ExtraPrograms:
    """Read the supervisord sections of the file at `path`; without a path there are none.

    Raises:
        UsageError: a section or key is refused.
    """
    if not path:
        return ExtraPrograms()
    sections, warnings = _read_with_includes(path, environ)
    kept = [section for section in sections if _check_section(section)]
    common = next((section.values for section in kept if section.name == "supervisord"), {})
    inherited = {key: value for key, value in common.items() if key in keys.INHERITED}
    overrides = {_name(section): section.values for section in kept if _is_ours(section)}
    others = [section for section in kept if section.name != "supervisord" and not _is_ours(section)]
    return ExtraPrograms(
        supervisord={
            key: value for key, value in common.items() if key in keys.ALLOWED["supervisord"] - keys.INHERITED
        },
        overrides={group: {**inherited, **overrides.get(group, {})} for group in _OUR_GROUPS},
        sections=tuple(_rendered(section, inherited) for section in others),
        essential=frozenset(_name(section) for section in others if _is_essential(section)),
        warnings=(*warnings, *(warning for section in others for warning in _warnings(section))),
    )


# --- files


def _read_with_includes(path: str, environ: Mapping[str, str]) -> tuple[list[Section], list[str]]:
    """Return the sections of the file and of the files that it includes, and warnings."""
    sections, warnings = _read(path), []
    if not sections:
        raise UsageError(f"--config: {path!r} has no section, like [{CONFIG_SECTION}] or [program:NAME].")
    include = next((section for section in sections if section.name == "include"), None)
    for pattern in _patterns(include, environ) if include else ():
        files = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(path)), pattern)))
        if not files:
            warnings.append(f"--config: no file matches {pattern!r}, included by {path!r}")
        for included in files:
            sections += _check_included(sections, _read(included))
    return [section for section in sections if section is not include], warnings


def _read(path: str) -> list[Section]:
    here = os.path.dirname(os.path.abspath(path)).replace("%", "%%")
    return [
        replace(section, values={key: value.replace("%(here)s", here) for key, value in section.values.items()})
        for section in read_sections(path, COMMENT_PREFIXES)
    ]


def _patterns(include: Section, environ: Mapping[str, str]) -> list[str]:
    expansions = {f"ENV_{name}": value for name, value in environ.items()} | {"host_node_name": platform.node()}
    try:
        return (include.values.get("files", "") % expansions).split()
    except (KeyError, ValueError, TypeError) as error:
        raise _refused(include, "files", f"cannot be expanded: {error}") from error


def _check_included(sections: Iterable[Section], included: Iterable[Section]) -> Iterator[Section]:
    earlier = {section.name: section for section in sections}
    for section in included:
        if section.name in (CONFIG_SECTION, "include"):
            raise UsageError(f"--config: {section.location()}: [{section.name}] cannot be in an included file.")
        if section.name in earlier:
            where = earlier[section.name].location()
            raise UsageError(f"--config: {section.location()}: [{section.name}] is in {where} already.")
        yield section


# --- checks


def _check_section(section: Section) -> bool:
    """Check a section; return whether it is rendered for supervisord."""
    kind = section.name.partition(":")[0]
    if section.name == CONFIG_SECTION or kind in keys.IGNORED_SECTIONS:
        return False
    if kind == "rpcinterface":
        _check_namespace(section)
        return False
    if kind in keys.REFUSED_SECTIONS:
        raise UsageError(f"--config: {section.location()}: [{section.name}] is refused: {keys.REFUSED_SECTIONS[kind]}.")
    if kind not in keys.ALLOWED:
        raise UsageError(f"--config: {section.location()}: there is no section [{section.name}].")
    if ":" in section.name and kind != "inet_http_server":
        _check_name(section)
    _check_keys(section, f"program:{_name(section)}" if _is_ours(section) else kind)
    return True


def _check_namespace(section: Section) -> None:
    """Accept supervisord's own namespace, which is rendered anyway; any other would run code in the supervisor."""
    standard = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
    if section.name != "rpcinterface:supervisor" or dict(section.values) != standard:
        raise UsageError(
            f"--config: {section.location()}: [{section.name}] is refused: it runs code in the supervisor."
        )


def _check_name(section: Section) -> None:
    name = _name(section)
    if not _is_ours(section) and (name in (*_OUR_GROUPS, SUPERVISOR) or name.startswith(MODEL_SERVER)):
        raise UsageError(f"--config: {section.location()}: [{section.name}] is refused: {name} is a reserved name.")
    for member in section.values.get("programs", "").replace(",", " ").split():
        if member in _OUR_GROUPS:
            raise _refused(section, "programs", f"{member} cannot be in a group")


def _check_keys(section: Section, kind: str) -> None:
    for key, value in section.values.items():
        if key in keys.ALLOWED[kind]:
            continue
        if kind == "supervisord" and key == "nodaemon" and value.lower() in YES:
            continue
        reason = keys.REFUSED.get(kind, {}).get(key, "there is no such key")
        raise _refused(section, key, reason)
    if kind in ("program", "eventlistener") and not section.values.get("command"):
        raise UsageError(f"--config: {section.location()}: [{section.name}] has no command.")
    if kind == "program":
        _is_essential(section)


def _is_essential(section: Section) -> bool:
    try:
        return boolean(section.values.get(ESSENTIAL, "false"))
    except ValueError as error:
        raise _refused(section, ESSENTIAL, str(error)) from error


def _refused(section: Section, key: str, reason: str) -> UsageError:
    return UsageError(f"--config: {section.location(key)}: {key!r} in [{section.name}] is refused: {reason}.")


def _is_ours(section: Section) -> bool:
    return section.name in (f"program:{MODEL_SERVER}", f"program:{ERROR_SERVER}")


def _name(section: Section) -> str:
    return section.name.partition(":")[2]


# --- rendering


def _rendered(section: Section, inherited: Mapping[str, str]) -> Section:
    """Return a section for supervisord: output goes to the supervisor's own unless it has a log file."""
    values = {key: value for key, value in section.values.items() if key != ESSENTIAL}
    kind = section.name.partition(":")[0]
    if kind in ("program", "eventlistener"):
        values = {**inherited, **values}
        for stream in ("stdout", "stderr"):
            values[f"{stream}_logfile"] = _log_file(section, stream)
    return replace(section, values=values)


def _log_file(section: Section, stream: str) -> str:
    given = section.values.get(f"{stream}_logfile", "AUTO")
    if section.name.startswith("eventlistener:") and stream == "stdout":  # its stdout is the protocol
        return given if given != "AUTO" and given not in keys.OWN_OUTPUT else "NONE"
    return keys.OWN_OUTPUT.get(given, f"/dev/{stream}" if given.upper() == "AUTO" else given)


def _warnings(section: Section) -> Iterator[str]:
    if section.name.startswith("inet_http_server") and not section.values.get("password"):
        port = section.values.get("port", "")
        yield f"anyone who reaches {port} controls this supervisor: [{section.name}] has no username and password"
