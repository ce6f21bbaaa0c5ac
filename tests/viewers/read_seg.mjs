// Print the voxels that OHIF shows of a DICOM SEG over its series, read by OHIF's own reader.
//
//     node read_seg.cjs SERIES_FOLDER SEG     (bundled by esbuild: ../conftest has the command)
//
// JSON: {"SOPInstanceUID": [row * Columns + column, ...], ...}; of a multi-frame image "SOPInstanceUID/FRAME".
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

import { adaptersSEG } from '@cornerstonejs/adapters'
import { metaData } from '@cornerstonejs/core'
import dcmjs from 'dcmjs'

const { DicomMessage, DicomMetaDictionary } = dcmjs.data

function bytesOf(path) {
  const file = readFileSync(path)
  return file.buffer.slice(file.byteOffset, file.byteOffset + file.length)
}

const readInstance = (path) => DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(bytesOf(path)).dict)
const numbers = (values) => values.map(Number)

/** What a viewer takes from the header of one image, by the names of cornerstone's metadata modules. */
const MODULES = {
  instance: (d) => d,
  generalSeriesModule: (d) => ({ seriesInstanceUID: d.SeriesInstanceUID, modality: d.Modality }),
  generalImageModule: (d) => ({ sopInstanceUID: d.SOPInstanceUID }),
  sopCommonModule: (d) => ({ sopInstanceUID: d.SOPInstanceUID, sopClassUID: d.SOPClassUID }),
  imagePlaneModule: (d) => {
    const cosines = numbers(d.ImageOrientationPatient)
    const [rowPixelSpacing, columnPixelSpacing] = numbers(d.PixelSpacing)
    return {
      rows: d.Rows,
      columns: d.Columns,
      frameOfReferenceUID: d.FrameOfReferenceUID,
      imageOrientationPatient: cosines,
      rowCosines: cosines.slice(0, 3),
      columnCosines: cosines.slice(3),
      imagePositionPatient: numbers(d.ImagePositionPatient),
      pixelSpacing: [rowPixelSpacing, columnPixelSpacing],
      rowPixelSpacing,
      columnPixelSpacing,
    }
  },
}

function alongNormal(d) {
  const [a, b, c, e, f, g] = numbers(d.ImageOrientationPatient)
  const [x, y, z] = numbers(d.ImagePositionPatient)
  return x * (b * g - c * f) + y * (c * e - a * g) + z * (a * f - b * e)
}

/** The images of a file by the ids that OHIF gives them; each frame of a multi-frame image is one, with the geometry of its groups. */
function imagesOf(name, instance) {
  const perFrame = [instance.PerFrameFunctionalGroupsSequence ?? []].flat()
  if (!perFrame.length) return [[`file:${name}`, instance]]
  const shared = [instance.SharedFunctionalGroupsSequence].flat()[0]
  const first = (groups, sequence) => [groups[sequence] ?? shared[sequence]].flat()[0]
  return perFrame.map((groups, index) => [
    `wadouri:${name}?frame=${index + 1}`,
    {
      ...instance,
      ImagePositionPatient: first(groups, 'PlanePositionSequence').ImagePositionPatient,
      ImageOrientationPatient: first(groups, 'PlaneOrientationSequence').ImageOrientationPatient,
      PixelSpacing: first(groups, 'PixelMeasuresSequence').PixelSpacing,
      frame: index + 1,
    },
  ])
}

async function main(folder, seg) {
  const images = new Map(readdirSync(folder).flatMap((name) => imagesOf(name, readInstance(join(folder, name)))))
  const get = (type, id) => (images.has(id) ? MODULES[type]?.(images.get(id)) : undefined)
  metaData.addProvider(get, 10000)
  const ids = [...images.keys()].sort((a, b) => alongNormal(images.get(a)) - alongNormal(images.get(b)))
  const { createFromDICOMSegBuffer } = adaptersSEG.Cornerstone3D.Segmentation
  const found = await createFromDICOMSegBuffer(ids, bytesOf(seg), { metadataProvider: { get }, tolerance: 1e-3 })
  const shown = {}
  for (const image of found.labelMapImages.flat()) {
    const voxels = []
    image.voxelManager.getScalarData().forEach((value, index) => value && voxels.push(index))
    const { SOPInstanceUID, frame } = images.get(image.referencedImageId)
    shown[frame ? `${SOPInstanceUID}/${frame}` : SOPInstanceUID] = voxels
  }
  process.stdout.write(JSON.stringify(shown))
}

main(...process.argv.slice(2))
