"""`dataclass`, as the standard one but without compiling: all classes share the same few methods.

The standard one writes six methods of each class as text and compiles them, in each process anew: half a millisecond
for each class. The supervisor has eighty, and its model server would start 40 ms later, a third of all that comes
before it. `python -m bench.run --only commands` measures it: the same imports with either.

The price is an `__init__` of 1.6 us instead of 0.4, so that what is made by the thousand (processes in a sample) keeps
the standard one. There is no `__post_init__`, `slots`, `order`, `kw_only`, `InitVar` or `ClassVar`; the tests hold each
kind of class that is used against the standard one, and see that none uses more.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, fields
from functools import partial
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]


def _dataclass(cls: type | None = None, *, frozen: bool = False, eq: bool = True) -> Any:
    """Make a dataclass of `cls`: fields, `replace` and patterns are the standard library's."""
    if cls is None:
        return partial(_dataclass, frozen=frozen, eq=eq)
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    methods: dict[str, Callable[..., Any] | None] = {"__init__": _init, "__repr__": _repr}
    if eq:
        methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
    if frozen:
        methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
    for name in methods.keys() - vars(cls).keys():
        setattr(made, name, methods[name])
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass


def _init(self: Any, *args: Any, **given: Any) -> None:
    names = self.__match_args__  # all of them, in order
    values = dict(zip(names, args, strict=False))
    if len(args) > len(names) or given.keys() & values.keys() or given.keys() - names:
        raise TypeError(f"{type(self).__name__}({', '.join(names)}) was called with {args} and {given}")
    values.update(given)
    for name in names:
        if name not in values:
            values[name] = _default(self, self.__dataclass_fields__[name])
    vars(self).update(values)


def _default(self: Any, field: "dataclasses.Field[Any]") -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise TypeError(f"{type(self).__name__}() needs a value for {field.name}")


@recursive_repr()
def _repr(self: Any) -> str:
    shown = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, field.name) for field in fields(self) if field.compare])


def _refuse(self: Any, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name} of a {type(self).__name__}")
