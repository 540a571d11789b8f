"""Every exception that tracekit raises on purpose.

    TracekitError                 exit code 4: could not finish
    ├── UsageError                exit code 2: an argument, a setting or a file that the user can mend
    │   ├── SettingError          a setting has a value that cannot be used
    │   ├── PluginError           a plugin spec names nothing, or is given wrong parameters
    │   ├── MissingExtraError     a command needs an extra that is not installed
    │   └── NotFoundError         a trace, run, agent or version that the store does not hold
    ├── DecodeError               a payload that is not what it says it is
    └── StoreError                the store cannot be opened, read or written
        ├── StoreBusyError        another process is at it for too long
        └── StoreVersionError     the store was written by a newer tracekit

A message says what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class TracekitError(Exception):
    """The root of all of tracekit's own exceptions."""

    exit_code = 4


class UsageError(TracekitError):
    """An argument, a setting or a file that the user can mend."""

    exit_code = 2


class SettingError(UsageError):
    """A setting has a value that cannot be used."""


class PluginError(UsageError):
    """A plugin spec names nothing that is installed, or gives it parameters that it does not take."""


class MissingExtraError(UsageError):
    """A command needs an extra that is not installed."""


class NotFoundError(UsageError):
    """The store does not hold the trace, run, agent or version that was asked for."""


class DecodeError(TracekitError):
    """A payload is not what it says it is: broken protobuf, wrong JSON, a torn file."""


class StoreError(TracekitError):
    """The store cannot be opened, read or written."""


class StoreBusyError(StoreError):
    """Another process is settling the store and did not end in the time that was given."""


class StoreVersionError(StoreError):
    """The store was written by a newer tracekit than this one."""
