"""`slicer.app`, `slicer.mrmlScene` and `slicer.modules` over the real logics of Slicer's C++ core."""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
import vtk

from harness import pythonqt, slicer_python, views, widgets


class Application:
    """The part of qSlicerApplication that modules touch."""

    def __init__(self, logic: Any, layout: views.LayoutManager, qt: Any) -> None:
        self._logic, self._layout, self._qt = logic, layout, qt
        self._on_start: list[Any] = []
        self.temporaryPath = tempfile.gettempdir()
        self.slicerUserSettingsFilePath = os.path.join(tempfile.mkdtemp(prefix="slicer-harness-"), "Slicer.ini")
        self._settings = qt.QSettings(self.slicerUserSettingsFilePath, qt.QSettings.IniFormat)

    def testingEnabled(self) -> bool:
        return True

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> views.LayoutManager:
        return self._layout

    def userSettings(self) -> Any:
        return self._settings

    def connect(self, signal: str, call: Any) -> None:
        """Keep what is to be called when the application has started; `started()` calls it."""
        assert signal == "startupCompleted()"
        self._on_start.append(call)

    def started(self) -> None:
        while self._on_start:
            self._on_start.pop()()

    def processEvents(self) -> None:
        self._qt.QApplication.processEvents()


def start(size: tuple[int, int] = (360, 360)) -> Any:
    """Bring up the application once for a process; gives `slicer`."""
    qt = pythonqt.install()
    widgets.install()
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene, slicer.modules = scene, SimpleNamespace()
    colors = slicer.vtkSlicerColorLogic()
    logic.SetColorLogic(colors)
    _register(logic, "Colors", colors)
    colors.AddDefaultColorNodes()
    _register(logic, "Volumes", slicer.vtkSlicerVolumesLogic())
    _register(logic, "Terminologies", slicer.vtkSlicerTerminologiesModuleLogic())
    _register(logic, "Segmentations", slicer.vtkSlicerSegmentationsModuleLogic())
    _register(logic, "SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic())
    _register(logic, "Markups", slicer.vtkSlicerMarkupsLogic())
    slicer.app = Application(logic, views.LayoutManager(scene, logic, size), qt)
    for cls in widgets.QMRML:
        setattr(slicer, cls.__name__, cls)
    slicer_python.install()
    slicer.util.mainWindow = lambda: None
    return slicer


def _register(application: Any, name: str, logic: Any) -> None:
    logic.SetMRMLApplicationLogic(application)  # before the scene
    logic.SetMRMLScene(slicer.mrmlScene)
    application.SetModuleLogic(name, logic)
    setattr(slicer.modules, name.lower(), SimpleNamespace(logic=lambda: logic))
