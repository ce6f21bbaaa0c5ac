// Conversion between the viewer's bitmaps, along R, A, S, and the voxels I, J, K of the file that the server counts in.

/**
 * i0, i1, j0, j1, k0, k1 in voxels of the file; ends excluded.
 * @typedef {number[]} Box
 */

/**
 * Return the slices of the main view that a box of the file's voxels has, from 0, and the axis of the file that they lie along.
 * @param {Box} box
 * @param {Grid | null} grid null where no image is shown: as most files are
 */
export function slicesOf(box, grid) {
  const axis = grid?.axis[2] ?? 2
  return { first: box[2 * axis] ?? 0, last: (box[2 * axis + 1] ?? 1) - 1, axis }
}

export class Grid {
  /**
   * @param {number[]} permRAS for R, A, S the axis of the file, from 1; negative where it runs the other way
   * @param {number[]} shape voxels along the file's axes
   */
  constructor(permRAS, shape) {
    this.axis = permRAS.map((p) => Math.abs(p) - 1)
    this.flipped = permRAS.map((p) => p < 0)
    this.shape = shape
    this.ras = this.axis.map((a) => shape[a])
    this.origin = this.index([0, 0, 0])
    this.step = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((ijk) => this.index(ijk) - this.origin) // in the bitmap, along I, J, K
  }

  /**
   * Return where a voxel of the file lies along R, A, S.
   * @param {number[]} ijk
   */
  toRas(ijk) {
    return this.axis.map((a, r) => (this.flipped[r] ? this.shape[a] - 1 - ijk[a] : ijk[a]))
  }

  /**
   * Return the voxel of the file that lies there.
   * @param {number[]} ras
   */
  toFile(ras) {
    const ijk = [0, 0, 0]
    this.axis.forEach((a, r) => { ijk[a] = this.flipped[r] ? this.shape[a] - 1 - ras[r] : ras[r] })
    return ijk
  }

  /**
   * Return the index into a bitmap of a voxel of the file.
   * @param {number[]} ijk
   */
  index(ijk) {
    const [r, a, s] = this.toRas(ijk)
    return r + this.ras[0] * (a + this.ras[1] * s)
  }

  /**
   * Call `each(index, n)` for all voxels of a box, K running fastest.
   * @param {Box} box
   * @param {(index: number, n: number) => void} each
   */
  within(box, each) {
    const [di, dj, dk] = this.step
    let n = 0
    for (let i = box[0]; i < box[1]; i++) {
      for (let j = box[2]; j < box[3]; j++) {
        let index = this.origin + i * di + j * dj + box[4] * dk
        for (let k = box[4]; k < box[5]; k++, index += dk) each(index, n++)
      }
    }
  }

  /**
   * Return a bitmap of 0 and 1 from the voxels of a file, I running fastest.
   * @param {Uint8Array} voxels
   */
  bitmapOf(voxels) {
    const [x, y, z] = this.shape
    const [di, dj, dk] = this.step
    const bitmap = new Uint8Array(x * y * z)
    let n = 0
    for (let k = 0; k < z; k++) {
      for (let j = 0; j < y; j++) {
        let index = this.origin + j * dj + k * dk
        for (let i = 0; i < x; i++, index += di) bitmap[index] = voxels[n++] ? 1 : 0
      }
    }
    return bitmap
  }

  /**
   * Return what a bitmap holds in a box, as the server takes it: base64 of zlib of one bit a voxel, K running fastest.
   * @param {Uint8Array} bitmap
   * @param {Box} box
   */
  async pack(bitmap, box) {
    const bits = new Uint8Array(Math.ceil(volumeOf(box) / 8))
    this.within(box, (index, n) => { if (bitmap[index]) bits[n >> 3] |= 128 >> (n & 7) })
    return toBase64(await through(bits, new CompressionStream('deflate')))
  }

  /**
   * Write into a box of a bitmap what the server sent.
   * @param {string} text
   * @param {Box} box
   * @param {Uint8Array} bitmap
   */
  async unpack(text, box, bitmap) {
    const bits = await inflate(text)
    this.within(box, (index, n) => { bitmap[index] = (bits[n >> 3] >> (7 - (n & 7))) & 1 })
  }

  /**
   * Return whether two bitmaps are equal in a box.
   * @param {Uint8Array} one
   * @param {Uint8Array} other
   * @param {Box} box
   */
  equal(one, other, box) {
    let equal = true
    this.within(box, (index) => { if (Boolean(one[index]) !== Boolean(other[index])) equal = false })
    return equal
  }

  /**
   * Copy a box of one bitmap into another.
   * @param {Uint8Array} from
   * @param {Uint8Array} to
   * @param {Box} box
   */
  copy(from, to, box) {
    this.within(box, (index) => { to[index] = from[index] })
  }
}

/**
 * Return the voxel of the file that a point lies in, by Cramer's rule.
 * @param {number[][]} affine rows of the matrix from voxels to the point's frame
 * @param {number[]} point
 */
export function voxelAt(affine, point) {
  const columns = [0, 1, 2].map((c) => affine.slice(0, 3).map((row) => row[c]))
  const target = affine.slice(0, 3).map((row, r) => point[r] - row[3])
  const all = determinant(columns)
  return columns.map((_, c) => Math.round(determinant(columns.map((column, n) => (n === c ? target : column))) / all) + 0) // never -0
}

/** @param {number[][]} columns three of three */
function determinant([a, b, c]) {
  return a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) + c[0] * (a[1] * b[2] - a[2] * b[1])
}

/**
 * Return the intersection of two boxes; empty where they do not meet.
 * @param {Box} one
 * @param {Box} other
 */
export function intersection(one, other) {
  return one.map((edge, side) => (side % 2 ? Math.min(edge, other[side]) : Math.max(edge, other[side])))
}

/**
 * Return the number of voxels in a box; 0 where it is empty.
 * @param {Box} box
 */
export function volumeOf(box) {
  return [0, 2, 4].reduce((product, side) => product * Math.max(0, box[side + 1] - box[side]), 1)
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
export function gunzip(bytes) {
  return through(bytes, new DecompressionStream('gzip'))
}

/**
 * Return the bytes of what the server packed with zlib and wrote as base64.
 * @param {string} text
 */
export function inflate(text) {
  return through(fromBase64(text), new DecompressionStream('deflate'))
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {CompressionStream | DecompressionStream} stream
 */
async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer())
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let text = ''
  for (let n = 0; n < bytes.length; n += 32768) text += String.fromCharCode(...bytes.subarray(n, n + 32768))
  return btoa(text)
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
}
