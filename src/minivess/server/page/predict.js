// Ask a model to segment an image that has no prediction yet.

/**
 * Return a promise, and a function that stops the job on the server.
 * @param {import('./server.js').Server} server
 * @param {string} image
 * @param {import('./panel.js').Panel} panel
 */
export function predict(server, image, panel) {
  const id = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}` // no randomUUID over plain http
  return { done: run(server, image, panel, id), stop: () => server.json('DELETE', `/jobs/${id}`).catch(() => {}) }
}

/**
 * @param {import('./server.js').Server} server
 * @param {string} image
 * @param {import('./panel.js').Panel} panel
 * @param {string} id of the job
 */
async function run(server, image, panel, id) {
  const { models } = await server.json('GET', '/info/')
  const model = Object.keys(models).find((name) => models[name].type === 'segmentation')
  if (!model) throw new Error('This server has no model that segments an image by itself.')
  let over = false
  const follow = setInterval(async () => {
    const job = await server.json('GET', `/jobs/${id}`).catch(() => null)
    if (job && !over) panel.waiting(job.progress)
  }, 1000)
  panel.message(`The model segments ${image} ...`)
  panel.waiting(0)
  try {
    const path = `/infer/${encodeURIComponent(model)}?image=${encodeURIComponent(image)}&output=json`
    await server.send('POST', path, (reply) => reply.text(), { headers: { 'X-Request-ID': id }, timeout_s: 3600 })
  } finally {
    over = true
    clearInterval(follow)
    panel.waiting(null)
  }
}
