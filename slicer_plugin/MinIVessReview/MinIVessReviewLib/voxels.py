"""Boxes of voxels in the server's order I, J, K: encoded for requests, and as indices into arrays."""

import base64
import zlib

import numpy as np


def pack(voxels):
    """Return a mask (i, j, k) as text: base64 of zlib of one bit per voxel, k fastest."""
    return base64.b64encode(zlib.compress(np.packbits(voxels.astype(bool)).tobytes())).decode()


def unpack(text, box):
    """Return the voxels of a box that were packed as text, (i, j, k) bool."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    shape = shape_of(box)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def shape_of(box):
    """Return the number of voxels along i, j, k of a box (i0, i1, j0, j1, k0, k1; ends excluded)."""
    return box[1] - box[0], box[3] - box[2], box[5] - box[4]


def inside(box):
    """Return the index of a box into an array (k, j, i), Slicer's order."""
    return slice(box[4], box[5]), slice(box[2], box[3]), slice(box[0], box[1])


def grown(box, share, shape):
    """Return a box that is larger by a share of its size on each side, within an image of a shape (i, j, k)."""
    more = [round(share * n) for n in shape_of(box)]
    sides = zip(box[::2], box[1::2], more, shape, strict=True)
    return [edge for low, high, n, end in sides for edge in (max(0, low - n), min(end, high + n))]


def meets(one, other):
    """Return whether two boxes share a voxel."""
    return all(max(one[s], other[s]) < min(one[s + 1], other[s + 1]) for s in (0, 2, 4))
