"""Stand-ins for the CTK and qMRML widgets that the module uses, with just the behaviour that it relies on."""

from __future__ import annotations

import sys
import types
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.pythonqt import UiLoader, _connect, _disconnect


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A heading that hides what is under it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, 10, 0, 0)  # for the heading

    def _set_collapsed(self, value: bool) -> None:
        if value != self._collapsed:
            self._collapsed = value
            for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
                child.setVisible(not value)
            self.contentsCollapsed.emit(value)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        QtGui.QPainter(self).drawText(4, 12, f"{'▸' if self._collapsed else '▾'} {self._text}")

    text = Property(str, lambda self: self._text, lambda self, value: setattr(self, "_text", value))
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)


class ctkSliderWidget(QtWidgets.QWidget):
    """A number between two others."""

    valueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._low, self._high, self._step = 0.0, 0.0, 99.0, 1.0

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self._low), self._high)
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter, middle = QtGui.QPainter(self), self.height // 2
        share = (self._value - self._low) / ((self._high - self._low) or 1)
        painter.drawLine(4, middle, self.width - 40, middle)
        painter.drawRect(round(4 + share * (self.width - 52)), middle - 5, 8, 10)
        painter.drawText(self.width - 34, middle + 5, f"{self._value:.2f}")

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._low, lambda self, value: setattr(self, "_low", value))
    maximum = Property(float, lambda self: self._high, lambda self, value: setattr(self, "_high", value))
    singleStep = Property(float, lambda self: self._step, lambda self, value: setattr(self, "_step", value))
    decimals = Property(int, lambda _: 2, lambda *_: None)


class qMRMLWidget(QtWidgets.QWidget):
    """Hands the scene to what the .ui file connects to it, and to nothing else."""

    told_of_scene: ClassVar[list[str]] = []

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        for name in self.told_of_scene:
            self.findChild(QtWidgets.QWidget, name).setMRMLScene(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):
    """Records what it is told; voxels are edited in tests by the real vtkSlicerSegmentEditorLogic."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.calls: list[tuple[Any, ...]] = []
        self._node: Any = None

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node

    def setSegmentationNode(self, node: Any) -> None:
        self._node.SetAndObserveSegmentationNode(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._node.SetSelectedSegmentID(segment_id)

    def setActiveEffectByName(self, name: str | None) -> None:
        self._node.SetActiveEffectName(name or "")

    def setMRMLScene(self, _scene: Any) -> None:
        self.calls.append(("setMRMLScene",))

    def __getattr__(self, name: str) -> Any:
        if name in ("setMaximumNumberOfUndoStates", "installKeyboardShortcuts", "uninstallKeyboardShortcuts"):
            return lambda *values: self.calls.append((name, *values))
        raise AttributeError(name)


CTK = (ctkCollapsibleButton, ctkSliderWidget)
QMRML = (qMRMLWidget, qMRMLSegmentEditorWidget)


def install() -> None:
    """Register `ctk`, and tell the .ui loader."""
    ctk = types.ModuleType("ctk")
    for cls in CTK + QMRML:
        cls.connect, cls.disconnect = _connect, _disconnect
        UiLoader.registry[cls.__name__] = cls
    for cls in CTK:
        setattr(ctk, cls.__name__, cls)
    sys.modules["ctk"] = ctk
