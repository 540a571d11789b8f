"""Stand-ins: an object of ours that behaves as somebody else's, but for what we have to see.

A stand-in hands every attribute on to the object behind it, says that it is of that object's class, and forwards the
special methods that the class has. Only `type(value) is …` and code written in C that looks inside can tell them apart.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar, cast

_OWN = frozenset(
    {
        "__class__",
        "__class_getitem__",
        "__del__",
        "__delattr__",
        "__dict__",
        "__dir__",
        "__doc__",
        "__format__",
        "__getattr__",
        "__getattribute__",
        "__getstate__",
        "__init__",
        "__init_subclass__",
        "__instancecheck__",
        "__module__",
        "__new__",
        "__prepare__",
        "__reduce__",
        "__reduce_ex__",
        "__setattr__",
        "__setstate__",
        "__sizeof__",
        "__subclasscheck__",
        "__subclasshook__",
        "__weakref__",
    }
)


class Proxy:
    """Stands in for an object; made by `stand_in`.

    Args:
        subject: The object behind it.
    """

    __slots__ = ("__weakref__", "_tracekit_subject")
    OVERRIDES: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(self, subject: Any) -> None:
        object.__setattr__(self, "_tracekit_subject", subject)

    @property  # type: ignore[misc]  # a class may say of its instances what they are
    def __class__(self) -> Any:
        return type(self._tracekit_subject)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]  # as above
        return self._tracekit_subject.__doc__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracekit_subject, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._tracekit_subject, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._tracekit_subject, name)

    def __dir__(self) -> Any:
        return dir(self._tracekit_subject)

    def __format__(self, how: str) -> str:
        return format(self._tracekit_subject, how)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._tracekit_subject.__reduce_ex__(protocol)


def stand_in(kind: type[Any], subject: Any) -> type[Any]:
    """The subclass of a kind of `Proxy` that stands in for objects of the subject's class.

    Args:
        kind: A subclass of `Proxy`. Its own methods stay, and those of its `OVERRIDES` take the place of the methods
            of the same name that the subject's class has.
        subject: The object that it is to stand in for.
    """
    return _made(kind, type(subject))


def _make(kind: type[Any], of: type[Any]) -> type[Any]:
    body: dict[str, Any] = {"__slots__": (), "__module__": of.__module__, "__qualname__": of.__qualname__}
    own = {name for base in kind.__mro__ if base is not object for name in vars(base)}
    for name in dir(of):
        if name.startswith("__") and name.endswith("__") and name not in _OWN and name not in own:
            found = inspect.getattr_static(of, name)
            if found is None:  # `__hash__ = None` says that there is no hash
                body[name] = None
            elif callable(getattr(of, name, None)):
                body[name] = _forward(name)
    body.update({name: method for name, method in kind.OVERRIDES.items() if hasattr(of, name)})
    return type(of.__name__, (kind,), body)


_made = cast("Callable[[type[Any], type[Any]], type[Any]]", functools.lru_cache(maxsize=256)(_make))


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(type(self._tracekit_subject), name)
        value = found(self._tracekit_subject, *[_behind(item) for item in args], **kwargs)
        return self if value is self._tracekit_subject else value

    method.__name__ = name
    return method


def _behind(value: Any) -> Any:
    return object.__getattribute__(value, "_tracekit_subject") if issubclass(type(value), Proxy) else value


class CallableObject(Proxy):
    """Stands in for a callable object: calls go through the wrapper, everything else to the object.

    Args:
        subject: The callable object.
        call: What a call does.
        remade: What makes it anew when it is unpickled.
    """

    __slots__ = ("_tracekit_call", "_tracekit_remade")

    def __init__(self, subject: Any, call: Callable[..., Any], remade: tuple[Any, ...]) -> None:
        super().__init__(subject)
        object.__setattr__(self, "_tracekit_call", call)
        object.__setattr__(self, "_tracekit_remade", remade)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._tracekit_call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            return inspect.signature(self._tracekit_subject)
        return getattr(self._tracekit_subject, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        named = getattr(self._tracekit_subject, "__qualname__", None)
        if isinstance(named, str) and "<locals>" not in named:  # a function with a cache: by name, as without us
            return named_object, (self._tracekit_subject.__module__, named)
        return self._tracekit_remade


def named_object(module: str, name: str) -> Any:
    """What a module has under a dotted name.

    Args:
        module: The module's whole name.
        name: The name in it.
    """
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


class BindingObject(CallableObject):
    """Stands in for a callable object that becomes a method in a class, such as a function with a cache."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        bound = self._tracekit_subject.__get__(instance, owner)
        if bound is self._tracekit_subject or instance is None:
            return self
        return types.MethodType(self, instance)
