// Submission of the mask as the label of an image.
import { ServerError, formOf } from './server.js'
import { t } from './texts.js'

/**
 * Send the mask as the label; it is made from the revision that counted when the image was opened. Return what to tell the user.
 * A submission that is sent twice is one revision: the server knows it by its content.
 * @param {import('./server.js').Server} server
 * @param {import('./image.js').OpenImage} image
 * @param {Blob} mask NIfTI on the image's grid
 */
export async function submit(server, image, mask) {
  const form = formOf({ params: '{}', label: new File([mask], `${image.name}.nii`) })
  const headers = { 'If-Match': String(image.revision ?? 0) }
  const path = `/datastore/label?image=${encodeURIComponent(image.name)}&tag=final`
  try {
    const { minivess = {} } = await server.json('PUT', path, { form, headers, timeout_s: 600 })
    image.revision = minivess.revision ?? null
    return [t`Submitted as revision ${image.revision}.`, ...(minivess.changes ?? [])].join(' ')
  } catch (error) {
    throw error instanceof ServerError ? explained(error) : error
  }
}

/** @param {ServerError} error */
function explained({ status, message }) {
  if (status === 409) {
    return new Error(t`Another annotator has submitted a label since this image was opened. Both labels are stored, and a reviewer decides. (${message})`)
  }
  return new ServerError(status, t`${message} Your work is not lost. Submit again, or save a copy on this computer.`)
}
