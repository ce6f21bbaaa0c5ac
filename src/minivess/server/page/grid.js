// The viewer keeps its drawing along R, A, S; the server counts voxels I, J, K of the file. Between the two, exactly.

export class Grid {
  /** permRAS: for R, A, S the axis of the file, from 1, negative where it runs the other way; shape: of the file. */
  constructor(permRAS, shape) {
    this.axis = permRAS.map((p) => Math.abs(p) - 1)
    this.flipped = permRAS.map((p) => p < 0)
    this.shape = shape
    this.ras = this.axis.map((a) => shape[a])
  }

  /** Where a voxel of the file lies along R, A, S. */
  toRas(ijk) {
    return this.axis.map((a, r) => (this.flipped[r] ? this.shape[a] - 1 - ijk[a] : ijk[a]))
  }

  /** Which voxel of the file lies there. */
  toFile(ras) {
    const ijk = [0, 0, 0]
    this.axis.forEach((a, r) => { ijk[a] = this.flipped[r] ? this.shape[a] - 1 - ras[r] : ras[r] })
    return ijk
  }

  /** Index into the drawing of a voxel of the file. */
  index(ijk) {
    const [r, a, s] = this.toRas(ijk)
    return r + this.ras[0] * (a + this.ras[1] * s)
  }

  /** Call `each(index, n)` for all voxels of a box (i0, i1, j0, j1, k0, k1; ends excluded), K running fastest. */
  within(box, each) {
    let n = 0
    const step = [0, 1, 2].map((a) => this.index([0, 1, 2].map((b) => (b === a ? 1 : 0))) - this.index([0, 0, 0]))
    const start = this.index([0, 0, 0])
    for (let i = box[0]; i < box[1]; i++) {
      for (let j = box[2]; j < box[3]; j++) {
        let at = start + i * step[0] + j * step[1] + box[4] * step[2]
        for (let k = box[4]; k < box[5]; k++, at += step[2]) each(at, n++)
      }
    }
  }

  /** What a bitmap holds in a box, as the server takes it: base64 of zlib of one bit a voxel. */
  async pack(bitmap, box) {
    const bits = new Uint8Array(Math.ceil(volumeOf(box) / 8))
    this.within(box, (at, n) => { if (bitmap[at]) bits[n >> 3] |= 128 >> (n & 7) })
    return toBase64(await through(bits, new CompressionStream('deflate')))
  }

  /** Make bitmaps hold in a box what the server sent. */
  async unpack(text, box, ...bitmaps) {
    const bits = await through(fromBase64(text), new DecompressionStream('deflate'))
    this.within(box, (at, n) => {
      const value = (bits[n >> 3] >> (7 - (n & 7))) & 1
      for (const bitmap of bitmaps) bitmap[at] = value
    })
  }

  /** Whether two bitmaps hold the same in a box. */
  same(one, other, box) {
    let equal = true
    this.within(box, (at) => { if (Boolean(one[at]) !== Boolean(other[at])) equal = false })
    return equal
  }

  copy(from, to, box) {
    this.within(box, (at) => { to[at] = from[at] })
  }
}

/** What two boxes share; empty where they do not meet. */
export function meet(one, other) {
  return one.map((edge, side) => (side % 2 ? Math.min(edge, other[side]) : Math.max(edge, other[side])))
}

/** How many voxels a box holds; 0 where it is empty. */
export function volumeOf(box) {
  return [0, 2, 4].reduce((product, side) => product * Math.max(0, box[side + 1] - box[side]), 1)
}

async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer())
}

function toBase64(bytes) {
  let text = ''
  for (let n = 0; n < bytes.length; n += 32768) text += String.fromCharCode(...bytes.subarray(n, n + 32768))
  return btoa(text)
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
}
