import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Editing } from '../../../src/minivess/server/page/editing.js'
import { Grid } from '../../../src/minivess/server/page/grid.js'
import { OpenImage } from '../../../src/minivess/server/page/image.js'
import { Masks } from '../../../src/minivess/server/page/masks.js'
import { Outbox } from '../../../src/minivess/server/page/outbox.js'
import { Regions } from '../../../src/minivess/server/page/regions.js'
import { ScriptedServer, panel, storage, viewer } from './helpers.mjs'

const BOX = [0, 2, 0, 2, 0, 1]
const TOOLS = [{ name: 'path', clicks: 2 }, { name: 'cut', clicks: 1 }]

const ONE = [0, 1, 0, 1, 0, 1]
const DRAWN = { step: { name: 'draw', voxels: 1, box: ONE }, holds: await new Grid([1, 2, 3], [4, 3, 1]).pack(new Uint8Array(12).fill(1), ONE) }

/** A region of a 4 x 3 x 1 image; `reload` counts how often the masks are read again, and finds them empty. */
function editing(reply) {
  const server = new ScriptedServer(reply)
  const [said, views] = [panel(), viewer(new Uint8Array(12))]
  const masks = new Masks(new Grid([1, 2, 3], [4, 3, 1]), views, new Uint8Array(12), new Uint8Array(12))
  const image = new OpenImage(server, 'img', { shape: [4, 3, 1], revision: null }, masks)
  image.reload = async () => {
    image.reloads = (image.reloads ?? 0) + 1
    if (server.reply() === 0) await server.json('GET', 'mask')
    masks.replace(new Uint8Array(12), new Uint8Array(12))
    image.stale = false
  }
  const regions = new Regions(server, 'img', 10, said, views, [])
  regions.current = { id: 'img:1.0', box: BOX }
  return { server, said: said.said, views, image, regions, editing: new Editing(image, regions, new Outbox(server, 'ann', storage(), () => {}), TOOLS) }
}

test('stroke: sent at once; a server that does not answer makes the image stale, and the stroke is unsent', async () => {
  const { server, said, views, image, editing: e } = editing(() => DRAWN)
  views.mask[0] = 1
  assert.ok(await e.stroke())
  assert.deepEqual(server.requests, ['POST /review/images/img/draft/draw'])
  assert.match(said.at(-1), /^Drawn\. Press U/)
  server.reply = () => 0
  views.mask[1] = 1
  assert.ok(!await e.stroke())
  assert.deepEqual([image.stale, e.outbox.size, [...e.unsentStrokes.keys()]], [true, 1, ['img:1.0']])
  assert.equal(views.mask[1], 1)
})

test('stroke: what lies in regions that others have accepted meanwhile is not kept', async () => {
  const { said, views, image, editing: e } = editing(() => ({ step: null, holds: '' }))
  views.mask[0] = 1
  assert.ok(await e.stroke())
  assert.deepEqual([image.reloads, views.mask.includes(1)], [1, false])
  assert.match(said.at(-1), /accepted meanwhile/)
})

test('stroke: one that the step before has taken is no error', async () => {
  const { server, views, editing: e } = editing(() => DRAWN)
  views.mask[0] = 1
  assert.deepEqual(await Promise.all([e.stroke(), e.stroke()]), [true, true])
  assert.equal(server.requests.length, 1)
  views.mask[11] = 1 // outside
  await assert.rejects(e.stroke(), /Nothing was changed/)
})

test('stroke: outside a region it is put back', async () => {
  const { views, regions, editing: e } = editing()
  regions.current = null
  views.mask[0] = 1
  await assert.rejects(e.stroke(), /Press N/)
  assert.ok(!views.mask.includes(1))
})

test('stroke: where the server refuses it, the masks are read again', async () => {
  const { views, image, editing: e } = editing(() => 422)
  views.mask[0] = 1
  await assert.rejects(e.stroke(), { status: 422 })
  assert.deepEqual([image.reloads, views.mask.includes(1), e.outbox.size], [1, false, 0])
})

test('catchUp: takes a stroke that was not reported, and asks nothing where nothing is stale', async () => {
  const { server, views, editing: e } = editing(() => DRAWN)
  await e.catchUp()
  assert.deepEqual(server.requests, [])
  views.mask[0] = 1
  await e.catchUp()
  assert.deepEqual(server.requests, ['POST /review/images/img/draft/draw'])
})

test('catchUp: a stale image is read again only after all is sent', async () => {
  const { server, views, image, editing: e } = editing(() => 0)
  views.mask[0] = 1
  await e.stroke()
  await e.catchUp()
  assert.deepEqual([image.reloads, image.stale, e.outbox.size], [undefined, true, 1])
  server.reply = () => ({ step: null, holds: '' })
  await e.catchUp()
  assert.deepEqual([image.reloads, image.stale, e.outbox.size, e.unsentStrokes.size], [1, false, 0, 0])
})

test('catchUp: a late refusal of the stroke in the current region stops the step that follows', async () => {
  const { server, views, image, editing: e } = editing(() => 0)
  views.mask[0] = 1
  await e.stroke()
  server.reply = () => 422
  await assert.rejects(e.catchUp(), { status: 422 })
  assert.deepEqual([image.reloads, e.outbox.size, e.outbox.takeNotices()], [1, 0, ''])
  await e.catchUp()
})

test('click: as many clicks as the server states, in one region', async () => {
  const { server, said, regions, editing: e } = editing(() => ({ step: null, holds: '' }))
  await e.click('path', [0, 0, 0])
  assert.equal(said.at(-1), 'Click on the other end.')
  regions.current = { id: 'img:1.1', box: BOX }
  await e.click('path', [0, 0, 0]) // another region: the first click again
  assert.deepEqual(server.requests, [])
  await e.click('path', [1, 1, 0])
  await e.click('cut', [1, 1, 0])
  assert.deepEqual(server.requests, Array(2).fill('POST /review/images/img/draft/prompt'))
})

test('undo: a lost reply makes the image stale', async () => {
  const { image, editing: e } = editing(() => 0)
  await assert.rejects(e.undo(), { status: 0 })
  assert.ok(image.stale)
})

test('undo and redo: a step in another region is shown', async () => {
  const { said, views, regions, editing: e } = editing()
  const step = { name: 'draw', voxels: 1, box: [3, 4, 2, 3, 0, 1] }
  e.image.changeDraft = async () => ({ step })
  assert.ok(await e.undo())
  assert.deepEqual([regions.current, views.jumps], [null, [step.box]])
  assert.match(said.at(-1), /Undone: draw, in another region/)
  regions.current = { id: 'img:1.0', box: ALL }
  await e.redo()
  assert.equal(said.at(-1), 'Redone: draw.')
  e.image.changeDraft = async () => ({ step: null })
  assert.ok(!await e.undo())
})
const ALL = [0, 4, 0, 3, 0, 1]
