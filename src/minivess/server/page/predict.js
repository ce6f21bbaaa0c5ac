// Ask a model to segment an image that has no prediction yet.
import { t } from './texts.js'

/**
 * Return a promise, and a function that stops the job on the server.
 * @param {import('./server.js').Server} server
 * @param {string} image
 * @param {import('./panel.js').Panel} panel
 */
export function predict(server, image, panel) {
  const id = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}` // no randomUUID over plain http
  const state = { stopped: false, over: false }
  const done = run(server, image, panel, id, state).finally(() => { state.over = true; panel.waiting(null) })
  return { done, stop: () => { state.stopped = true; return stop(server, id, state) } }
}

/**
 * Stop the job; the server may not know it yet, where its request is still on the way.
 * @param {import('./server.js').Server} server
 * @param {string} id of the job
 * @param {{ over: boolean }} state
 */
async function stop(server, id, state) {
  while (!state.over) {
    const known = await server.json('DELETE', `/jobs/${id}`).then(() => true, () => false)
    if (known) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

/**
 * @param {import('./server.js').Server} server
 * @param {string} image
 * @param {import('./panel.js').Panel} panel
 * @param {string} id of the job
 * @param {{ stopped: boolean, over: boolean }} state
 */
async function run(server, image, panel, id, state) {
  const { models } = await server.json('GET', '/info/')
  const model = Object.keys(models).find((name) => models[name].type === 'segmentation')
  if (!model) throw new Error(t`This server has no model that segments an image by itself.`)
  if (state.stopped) throw new Error(t`The segmentation of ${image} was stopped before it began.`)
  const follow = setInterval(async () => {
    const job = await server.json('GET', `/jobs/${id}`).catch(() => null)
    if (job && !state.over) panel.waiting(job.progress)
  }, 1000)
  panel.message(t`The model segments ${image} ...`)
  panel.waiting(0)
  try {
    const path = `/infer/${encodeURIComponent(model)}?image=${encodeURIComponent(image)}&output=json`
    await server.send('POST', path, (reply) => reply.text(), { headers: { 'X-Request-ID': id }, timeout_s: 3600 })
  } finally {
    clearInterval(follow)
  }
}
