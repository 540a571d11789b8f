"""Stand-ins: an object of ours that behaves as somebody else's, but for what we have to see.

A stand-in hands every attribute on to the object behind it, says that it is of that object's class, and forwards the
special methods that the class has. Only `type(value) is …` and code written in C that looks inside can tell them apart.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

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

    def __init__(self, subject: Any) -> None:
        object.__setattr__(self, "_tracekit_subject", subject)

    @property  # type: ignore[misc]  # a class may say of its instances what they are
    def __class__(self) -> Any:  # noqa: D105 - as the object behind
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


def stand_in(kind: type, subject: Any) -> type:
    """The subclass of a kind of `Proxy` that stands in for objects of the subject's class.

    Args:
        kind: A subclass of `Proxy`; the special methods that it defines are its own.
        subject: The object that it is to stand in for.
    """
    return _made(kind, type(subject))


@functools.lru_cache(maxsize=256)
def _made(kind: type, of: type) -> type:
    body: dict[str, Any] = {"__slots__": (), "__module__": of.__module__, "__qualname__": of.__qualname__}
    own = {name for base in kind.__mro__ if base is not object for name in vars(base)}
    for name in dir(of):
        if not (name.startswith("__") and name.endswith("__")) or name in _OWN or name in own:
            continue
        found = inspect.getattr_static(of, name)
        if found is None:  # `__hash__ = None` says that there is no hash
            body[name] = None
        elif callable(found):
            body[name] = _forward(name)
    # What the class does not have, the stand-in must not have either: `hasattr(value, "__next__")` is a question.
    for name in getattr(kind, "OPTIONAL", ()):
        if not hasattr(of, name):
            body[name] = _Missing(name)
    return type(of.__name__, (kind,), body)


class _Missing:
    """A special method that the stand-in's class has and the object behind has not."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(type(self._tracekit_subject), name)
        value = found(self._tracekit_subject, *[_behind(item) for item in args], **kwargs)
        return self if value is self._tracekit_subject else value

    method.__name__ = name
    return method


def _behind(value: Any) -> Any:
    return value._tracekit_subject if isinstance(type(value), type) and issubclass(type(value), Proxy) else value  # noqa: SLF001 - its own class


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
        if isinstance(named, str):  # such as a function with a cache: by name, as it is without us
            return named
        return self._tracekit_remade


class BindingObject(CallableObject):
    """Stands in for a callable object that becomes a method in a class, such as a function with a cache."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        bound = self._tracekit_subject.__get__(instance, owner)
        if bound is self._tracekit_subject or instance is None:
            return self
        return types.MethodType(self, instance)
