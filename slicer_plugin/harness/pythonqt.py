"""`qt` as PythonQt gives it, made from PySide6: one flat namespace, properties as attributes, signals by their signature."""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import QObject

_MODULES = (QtCore, QtGui, QtNetwork, QtWidgets, QtUiTools)
_VIRTUAL = {"sizeHint", "minimumSizeHint"}  # properties whose getter C++ calls
_PLAIN = {"QApplication", "QGuiApplication", "QCoreApplication", "QObject"}
_set, _get = QObject.setProperty, QObject.property
_single_shot = QtCore.QTimer.singleShot  # also the name of a property
_bases: dict[type, type] = {}
_classes: dict[str, type] = {}
_connections: dict[tuple[Any, ...], tuple[Any, Any]] = {}


def install() -> types.ModuleType:
    """Make the application, patch PySide6's classes, and register `qt`."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-harness"])
    app.setOrganizationName("slicer-harness")
    app.setApplicationName("slicer-harness")
    found = {c for module in _MODULES for c in _content(module).values() if isinstance(c, type) and issubclass(c, QObject)}
    for cls in sorted(found, key=lambda c: len(c.__mro__)):
        _properties_as_attributes(cls)
    QObject.name = property(lambda self: _get(self, "objectName"))
    QObject.findChild, QObject.findChildren = _by_name(QObject.findChild), _by_name(QObject.findChildren)
    QObject.delete = lambda self: self.deleteLater()
    QObject.className = lambda self: type(self).__name__
    qt = types.ModuleType("qt")
    for module in _MODULES:
        for name, value in _content(module).items():
            wrapped = isinstance(value, type) and issubclass(value, QObject) and name not in _PLAIN
            setattr(qt, name, pythonqt_class(value) if wrapped else value)
    qt.QUiLoader = UiLoader
    qt.QTimer.singleShot = staticmethod(lambda ms, call: _single_shot(ms, call))
    sys.modules["qt"] = qt
    qt.application = app
    return qt


def _content(module: types.ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in dir(module) if name.startswith("Q")}  # PySide6 fills its modules when asked


def _properties_as_attributes(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        getter, setter = getattr(cls, name, None), getattr(cls, f"set{name[0].upper()}{name[1:]}", None)
        if name in _VIRTUAL or isinstance(cls.__dict__.get(name), property) or (getter is not None and not callable(getter)):
            continue

        def read(self: QObject, name: str = name, getter: Any = getter) -> Any:
            return _get(self, name) if getter is None else getter(self)

        def write(self: QObject, value: Any, name: str = name, setter: Any = setter) -> None:
            if setter is None:
                _set(self, name, value)
            else:
                setter(self, value)

        writable = setter or meta.property(index).isWritable()
        try:
            setattr(cls, name, property(read, write if writable else None))
        except (TypeError, AttributeError):
            continue


class _Like(type(QObject)):
    """A wrapped class answers isinstance() for the class that it wraps."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _bases[cls]) if cls in _bases else type.__instancecheck__(cls, value)


def pythonqt_class(cls: type) -> type:
    """Add connect() and disconnect() by signature to a class; Shiboken hides patched ones."""
    if cls.__name__ in _classes:
        return _classes[cls.__name__]
    try:
        wrapped = _Like(cls.__name__, (cls,), {"connect": _connect, "disconnect": _disconnect, "__module__": "qt"})
    except TypeError:
        return cls
    _bases[wrapped], _classes[cls.__name__] = cls, wrapped
    return wrapped


def _connect(self: QObject, signature: str, call: Callable[..., Any]) -> bool:
    name, _, arguments = signature.partition("(")
    signal = getattr(self, name, None)
    if signal is None or not hasattr(signal, "connect"):
        raise ValueError(f"signal {signature!r} does not exist on {type(self).__name__}")
    count = len([a for a in arguments.rstrip(")").split(",") if a.strip()])
    slot = {0: lambda: call(), 1: lambda a: call(a), 2: lambda a, b: call(a, b)}[count]
    signal.connect(slot)
    _connections[id(self), signature.replace(" ", ""), _key(call)] = (signal, slot)
    return True


def _disconnect(self: QObject, signature: str, call: Callable[..., Any]) -> bool:
    signal, slot = _connections.pop((id(self), signature.replace(" ", ""), _key(call)), (None, None))
    if signal is not None:
        signal.disconnect(slot)
    return signal is not None


def _key(call: Callable[..., Any]) -> tuple[int, int]:
    return id(getattr(call, "__self__", None)), id(getattr(call, "__func__", call))


def _by_name(find: Callable[..., Any]) -> Callable[..., Any]:
    def found(self: QObject, kind: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(kind, str):
            kind = getattr(sys.modules["qt"], kind, QtWidgets.QWidget)
        return find(self, _bases.get(kind, kind), *rest, **options)

    return found


class UiLoader(QtUiTools.QUiLoader):
    """Loads .ui files; knows the stand-ins, and leaves out connections that carry MRML types."""

    registry: ClassVar[dict[str, type]] = {}

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> QtWidgets.QWidget:
        cls = self.registry.get(class_name) or _classes.get(class_name)
        if cls is None:
            return super().createWidget(class_name, parent, name)
        widget = cls(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        text = bytes(device.readAll())
        told = re.findall(rb"<signal>mrmlSceneChanged.*?<receiver>(\w+)</receiver>", text, flags=re.S)
        text = re.sub(rb"<connection>(?:(?!</connection>).)*?vtkMRML(?:(?!</connection>).)*?</connection>", b"", text, flags=re.S)
        buffer = QtCore.QBuffer()
        buffer.setData(text)
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        widget.told_of_scene = [name.decode() for name in told]
        return widget
