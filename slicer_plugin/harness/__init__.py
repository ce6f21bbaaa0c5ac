"""Slicer without the application: its real C++ core, and stand-ins for the Qt half, which no package index offers.

Real: MRML, segmentations, displayable managers, volumes' and markups' logic, `slicer.util`, rendering (EGL). Stand-ins: PythonQt
(over PySide6), CTK and qMRML widgets, `slicer.app`, three of Slicer's own Python files. What that leaves unproven: ../README.md.
"""
