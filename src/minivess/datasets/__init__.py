"""Data sets: image and label files with their subjects, made, checked and read. Nothing here imports torch."""

from minivess.datasets.check import DatasetReport, check_dataset
from minivess.datasets.dataset import FILE_NAME, SECTIONS, UNREVIEWED, TrainingCase, items, read_dataset
from minivess.datasets.make import FileOptions, make_dataset
from minivess.datasets.pairs import load_item, load_pair, load_reviewed

__all__ = [
    "FILE_NAME",
    "SECTIONS",
    "UNREVIEWED",
    "DatasetReport",
    "FileOptions",
    "TrainingCase",
    "check_dataset",
    "items",
    "load_item",
    "load_pair",
    "load_reviewed",
    "make_dataset",
    "read_dataset",
]
