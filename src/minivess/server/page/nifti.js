// Read a mask file without showing it.
import { gunzip } from './grid.js'
import { t } from './texts.js'

const UINT8 = 2 // datatype code of NIfTI-1

/**
 * Return the voxels of a gzip NIfTI-1 file of uint8, first axis fastest, as the server sends masks.
 * @param {ArrayBuffer} file
 * @param {number[]} shape voxels along the file's axes
 * @throws {Error} another format, data type or shape
 */
export async function readMask(file, shape) {
  const bytes = await gunzip(new Uint8Array(file))
  const header = new DataView(bytes.buffer)
  const little = bytes.length >= 352 && header.getInt32(0, true) === 348
  if (!little && !(bytes.length >= 352 && header.getInt32(0, false) === 348)) throw new Error(t`The mask is no NIfTI-1 file.`)
  const dims = [1, 2, 3].map((axis) => header.getInt16(40 + 2 * axis, little))
  const datatype = header.getInt16(70, little)
  if (datatype !== UINT8) throw new Error(t`The mask has the NIfTI data type ${datatype}; expected ${UINT8} (uint8).`)
  if (dims.some((size, axis) => size !== shape[axis])) throw new Error(t`The mask has ${dims} voxels; the image has ${shape}.`)
  const start = header.getFloat32(108, little) // vox_offset
  const count = dims[0] * dims[1] * dims[2]
  if (bytes.length < start + count) throw new Error(t`The mask file is cut off.`)
  return bytes.subarray(start, start + count)
}
