"""Three of Slicer's own Python files, as far as the module uses them: i18n, ScriptedLoadableModule, parameterNodeWrapper."""

from __future__ import annotations

import json
import os
import sys
import types
import typing
import unittest
from pathlib import Path
from typing import Any

import slicer
import vtk


class ScriptedLoadableModule:
    """A module: its title, icon and help."""

    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)


class ScriptedLoadableModuleWidget:
    """The panel of a module."""

    def __init__(self, parent: Any) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.layout = parent, parent.layout()

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None:
        """Nothing of its own."""


class ScriptedLoadableModuleLogic:
    """What a module does without its panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Slicer's self test."""

    def runTest(self) -> None:
        """Nothing of its own."""


def parameterNodeWrapper(cls: type) -> type:
    """Turn a class of annotated str, float and bool parameters into a view on a parameter node, with widgets kept in step."""
    kinds = typing.get_type_hints(cls)

    class Wrapped:
        def __init__(self, node: Any) -> None:
            self.__dict__["parameterNode"], self.__dict__["_links"] = node, {}
            for name in kinds:
                if name not in (node.GetParameterNames() or ()):
                    node.SetParameter(name, json.dumps(getattr(cls, name)))

        def __getattr__(self, name: str) -> Any:
            if name in kinds:
                text = self.parameterNode.GetParameter(name)
                return json.loads(text) if text else getattr(cls, name)  # a reset node has none
            return getattr(self.parameterNode, name)

        def __setattr__(self, name: str, value: Any) -> None:
            wanted = (float, int) if kinds[name] is float else kinds[name]
            if not isinstance(value, wanted):
                raise TypeError(f"{name}: expected {kinds[name].__name__}, got {type(value).__name__}")
            self.parameterNode.SetParameter(name, json.dumps(value))

        def connectGui(self, ui: Any) -> int:
            links = [
                _link(self, widget)
                for widget in vars(ui).values()
                if getattr(widget, "property", lambda _: "")("SlicerParameterName")
            ]

            def refresh(*_: Any) -> None:
                for link in links:
                    link()

            refresh()
            tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh)
            self._links[tag] = links
            return int(tag)

        def disconnectGui(self, tag: int) -> None:
            self._links.pop(tag, []).clear()
            self.parameterNode.RemoveObserver(tag)

    Wrapped.__name__ = cls.__name__
    return Wrapped


def _link(parameters: Any, widget: Any) -> typing.Callable[[], None]:
    name = widget.property("SlicerParameterName")
    if hasattr(widget, "toggled"):
        widget.toggled.connect(lambda value: setattr(parameters, name, value))
        return lambda: widget.setChecked(getattr(parameters, name))
    if hasattr(widget, "valueChanged"):
        widget.valueChanged.connect(lambda value: setattr(parameters, name, value))
        return lambda: widget.setValue(getattr(parameters, name))
    widget.textChanged.connect(lambda value: setattr(parameters, name, value))
    return lambda: None if widget.text == getattr(parameters, name) else widget.setText(getattr(parameters, name))


def install() -> None:
    """Make the modules importable under the names that Slicer uses."""
    own = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest)
    _module("i18n", tr=lambda text: text, translate=lambda _context, text: text)
    _module("ScriptedLoadableModule", **{cls.__name__: cls for cls in own})
    _module("parameterNodeWrapper", parameterNodeWrapper=parameterNodeWrapper)


def _module(name: str, **content: Any) -> None:
    module = types.ModuleType(f"slicer.{name}")
    vars(module).update(content, __all__=list(content))
    sys.modules[module.__name__] = module
    setattr(slicer, name, module)


def load_module(path: Path) -> tuple[Any, Any]:
    """Import a scripted module as Slicer does; gives the module and its panel, set up."""
    import importlib.util

    import qt

    spec = importlib.util.spec_from_file_location(path.stem, path)
    python = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(python)
    parent = types.SimpleNamespace(
        path=str(path), title="", categories=[], dependencies=[], contributors=[], helpText="", icon=None
    )
    parent.acknowledgementText = ""
    setattr(slicer.modules, path.stem.lower(), types.SimpleNamespace(path=str(path)))
    module = getattr(python, path.stem)(parent)
    panel = slicer.qMRMLWidget()
    panel.setLayout(qt.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    widget = getattr(python, f"{path.stem}Widget")(panel)
    widget.setup()
    return module, widget
