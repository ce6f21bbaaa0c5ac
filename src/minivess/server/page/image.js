// The open image: what the server states of it, its masks, and whether they may differ from the server's.
import { Masks } from './masks.js'
import { readMask } from './nifti.js'
import { isTemporary } from './server.js'

/**
 * How far the review of an image is; the shares are of all errors that the model expects in it.
 * @typedef {object} Progress
 * @property {number} places
 * @property {number} answered
 * @property {number} skipped of these: nobody has looked at them yet
 * @property {number} errors_handled in accepted and corrected regions
 * @property {number} errors_in_queue in all regions of the queue
 * @property {number} checks answered places that were drawn at random
 * @property {number} checks_right of these, where nothing was corrected
 * @property {number[]} seconds_left_range
 */

/**
 * What the server states of an image under review.
 * @typedef {object} ImageStatus
 * @property {number[]} shape
 * @property {number[][]} affine_ras
 * @property {number | null} revision
 * @property {boolean} predicted
 * @property {string} model SHA-256 of the weights that predicted it
 * @property {boolean} newer_model whether a newer one is published than that which predicted it
 * @property {boolean} model_before whether another model has predicted it before
 * @property {Progress} progress
 * @property {string} retrain_first
 * @property {string} quality expected quality of the prediction, in words; empty where it is not known
 * @property {string} zones
 */

export class OpenImage {
  /**
   * @param {import('./server.js').Server} server
   * @param {string} name
   * @param {ImageStatus} status
   * @param {Masks} masks
   */
  constructor(server, name, status, masks) {
    this.server = server
    this.name = name
    this.status = status
    this.masks = masks
    this.revision = status.revision // the label that a submission is made from
    this.stale = false // a reply was lost: the server may have done what is not shown
  }

  /**
   * Fetch an image with both masks, and show it; the image before is left only when all of this one is there.
   * @param {import('./server.js').Server} server
   * @param {import('./viewer.js').Viewer} viewer
   * @param {string} name
   * @param {ImageStatus} status
   */
  static async open(server, viewer, name, status) {
    const path = pathOf(name)
    const [volume, [base, draft]] = await Promise.all([
      server.bytes(`${path}/volume?format=nii.gz`),
      fetchMasks(server, name, status.shape),
    ])
    const grid = await viewer.open(volume, status.shape, draft)
    return new OpenImage(server, name, status, new Masks(grid, viewer, grid.bitmapOf(base), grid.bitmapOf(draft)))
  }

  get path() {
    return pathOf(this.name)
  }

  /** Read both masks again. */
  async reload() {
    const { grid } = this.masks
    const [base, draft] = await fetchMasks(this.server, this.name, this.status.shape)
    this.masks.replace(grid.bitmapOf(base), grid.bitmapOf(draft))
    this.stale = false
  }

  /**
   * Ask for a change of the draft; where the reply is lost it may be done all the same.
   * @param {'prompt' | 'undo' | 'redo'} change
   * @param {object} [body]
   * @returns {Promise<import('./masks.js').DraftReply>}
   */
  async changeDraft(change, body) {
    const reply = await this.orStale(this.server.json('POST', `${this.path}/draft/${change}`, { body }))
    await this.masks.apply(reply)
    return reply
  }

  /**
   * Wait for a request; a reply that is lost makes this image stale.
   * @template T
   * @param {Promise<T>} request
   */
  async orStale(request) {
    try {
      return await request
    } catch (error) {
      this.stale ||= isTemporary(error)
      throw error
    }
  }
}

/**
 * Return what the server states of an image.
 * @param {import('./server.js').Server} server
 * @param {string} name
 * @returns {Promise<ImageStatus>}
 */
export function statusOf(server, name) {
  return server.json('GET', pathOf(name))
}

/**
 * Return the mask of the model before, a bitmap along R, A, S.
 * @param {import('./server.js').Server} server
 * @param {OpenImage} image
 */
export async function maskBefore(server, { path, status, masks }) {
  return masks.grid.bitmapOf(await readMask(await server.bytes(`${path}/mask_before?format=nii.gz`), status.shape))
}

/**
 * Return the image to review next: that of the best open region, or else the one that the server's strategy names.
 * @param {import('./server.js').Server} server
 * @param {string} strategy
 * @returns {Promise<string>}
 */
export async function nextImage(server, strategy) {
  const { places } = await server.json('GET', '/review/?state=pending&limit=1')
  return places.length ? places[0].case : (await server.json('POST', `/activelearning/${strategy}`, { body: {} })).id
}

/**
 * Return the voxels of the mask without the draft, and with it.
 * @param {import('./server.js').Server} server
 * @param {string} name
 * @param {number[]} shape
 */
function fetchMasks(server, name, shape) {
  const files = ['mask', 'draft/mask'].map((mask) => server.bytes(`${pathOf(name)}/${mask}?format=nii.gz`))
  return Promise.all(files.map(async (file) => readMask(await file, shape)))
}

/** @param {string} name */
function pathOf(name) {
  return `/review/images/${encodeURIComponent(name)}`
}
