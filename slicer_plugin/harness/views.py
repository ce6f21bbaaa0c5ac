"""Slice views and a 3-D view in offscreen windows, driven by Slicer's own displayable managers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager", "vtkMRMLCrosshairDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager", "vtkMRMLColorLegendDisplayableManager",
)  # fmt: skip
VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager", "vtkMRMLViewDisplayableManager", "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D", "vtkMRMLMarkupsDisplayableManager",
)  # fmt: skip


class _View:
    """What a slice view and a 3-D view share: a window, a renderer, and managers that fill it."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()

    def managed(self, factory: Any, names: tuple[str, ...], application: Any) -> Any:
        factory.SetMRMLApplicationLogic(application)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(factory, self.renderer)
        return group

    def render(self) -> None:
        self.window.Render()

    def picture(self) -> np.ndarray:
        """Return what is drawn, (rows, columns, RGB) uint8."""
        self.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]


class SliceView(_View):
    """One slice view."""

    def __init__(
        self, scene: Any, application: Any, name: str, orientation: str, color: tuple[float, ...], size: tuple[int, int]
    ) -> None:
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.group = self.managed(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), SLICE_MANAGERS, application)
        application.GetSliceLogics().AddItem(self.logic)  # before the managers see the node: the colour legend looks there
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetLayoutColor(*color)
        self.node.SetMappedInLayout(1)
        self.group.SetMRMLDisplayableNode(self.node)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)
        self.logic.ResizeSliceNode(*size)

    def sliceLogic(self) -> Any:
        return self.logic

    def fitSliceToBackground(self) -> None:
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def mrmlSliceNode(self) -> Any:
        return self.node

    def render(self) -> None:
        connection = self.logic.GetImageDataConnection()
        if connection:
            self.mapper.SetInputConnection(connection)
        self.actor.SetVisibility(bool(connection))
        super().render()


class ThreeDView(_View):
    """The 3-D view."""

    def __init__(self, scene: Any, application: Any, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.group = self.managed(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), VIEW_MANAGERS, application)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetMappedInLayout(1)
        self.group.SetMRMLDisplayableNode(self.node)
        application.GetViewLogics().AddItem(self.logic)
        self.renderer.SetBackground(0.6, 0.6, 0.8)


class LayoutManager:
    """The four views; `slicer.app.layoutManager()`."""

    def __init__(self, scene: Any, application: Any, size: tuple[int, int]) -> None:
        kinds = (
            ("Red", "Axial", (0.95, 0.29, 0.29)),
            ("Green", "Coronal", (0.43, 0.69, 0.29)),
            ("Yellow", "Sagittal", (0.93, 0.84, 0.3)),
        )
        self._slices = {name: SliceView(scene, application, name, plane, color, size) for name, plane, color in kinds}
        self._solid = ThreeDView(scene, application, size)

    threeDViewCount = 1

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for view in self._slices.values():
            view.fitSliceToBackground()

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> SliceView:
        return self._slices[name]

    def threeDWidget(self, _index: int) -> Any:
        return SimpleNamespace(threeDView=lambda: self._solid, mrmlViewNode=lambda: self._solid.node)

    def save(self, path: Path) -> None:
        """Write the four views as one PNG."""
        from PySide6.QtGui import QImage

        red, green, yellow = (view.picture() for view in self._slices.values())
        whole = np.ascontiguousarray(np.vstack([np.hstack([red, self._solid.picture()]), np.hstack([green, yellow])]))
        height, width, _ = whole.shape
        path.parent.mkdir(parents=True, exist_ok=True)
        QImage(whole.data, width, height, 3 * width, QImage.Format_RGB888).save(str(path))
