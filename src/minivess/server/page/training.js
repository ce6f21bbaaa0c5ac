// The model of the server: what its last training has brought, start and stop one, go back to the model before.
import { element } from './panel.js'
import { errorText } from './server.js'
import { inLanguage, t } from './texts.js'

const POLL_MS = 1500
const text = (/** @type {string} */ id) => element(id, HTMLElement)

/**
 * What `train_stats` of `/info/` says of a training.
 * @typedef {{ state?: string, by?: string, epoch?: number, epochs?: number, validation_dice?: number, published_dice_before?: number | null,
 *   scores?: Scores, scores_before?: Scores | null, anchors?: Anchor[], earlier_models?: number }} TrainingStats
 * @typedef {{ dice: number, cldice: number }} Scores
 * @typedef {{ name: string, before: Scores, after: Scores, losses: string[] }} Anchor
 */

/**
 * Say in words what a training has brought.
 * @param {TrainingStats} stats
 */
export function trainingInWords({ state, by, epoch, epochs, scores, scores_before: before }) {
  if (!state) return t`No training yet.`
  if (state === 'rolled back') return t`${by} has gone back to the model before: it is in use.`
  if (state === 'running') return epochs ? t`Training: epoch ${epoch ?? 0} of ${epochs}.` : t`The training is prepared: stacks are read and rehearsed ones made. This takes minutes.`
  const change = scores && before
    ? t` Dice ${before.dice.toFixed(3)} before, ${scores.dice.toFixed(3)} now; clDice ${before.cldice.toFixed(3)} before, ${scores.cldice.toFixed(3)} now.`
    : ''
  return t`Last training: ${inLanguage(state)}.${change}`
}

/** @param {Scores} scores */
function inWords({ dice, cldice }) {
  return `${dice.toFixed(3)} / ${cldice.toFixed(3)}`
}

export class Training {
  /**
   * @param {import('./server.js').Server} server
   * @param {string[]} roles of the user
   */
  constructor(server, roles) {
    this.server = server
    this.admin = roles.some((role) => role.includes('admin'))
    /** @type {string | undefined} */
    this.model = undefined
    /** @type {number | undefined} */
    this.timer = undefined
  }

  /** Show the last training, and follow one that is running. */
  async show() {
    const { trainers = {}, train_stats: stats = {} } = await this.server.json('GET', '/info/')
    this.model = Object.keys(trainers)[0]
    text('training').hidden = !this.model
    text('train').hidden = !this.admin
    if (!this.model) return
    /** @type {TrainingStats} */
    const found = stats[this.model] ?? {}
    text('rollBack').hidden = !this.admin || !found.earlier_models
    const running = await this.running()
    this.compare(running ? {} : found)
    text('train').textContent = running ? t`Stop training` : t`Train`
    this.say(running && found.state !== 'running' ? t`The training is prepared or judged.` : trainingInWords(found))
    clearTimeout(this.timer) // of an earlier opening
    if (running) this.timer = window.setTimeout(() => this.follow().catch(() => {}), POLL_MS)
  }

  /** Show a running training again, as long as it can be seen. */
  async follow() {
    if (text('training').checkVisibility()) await this.show()
  }

  /**
   * Show both models' scores on the reviewed regions and on what must not be forgotten.
   * @param {TrainingStats} stats
   */
  compare({ scores, scores_before: before, anchors = [] }) {
    text('anchors').hidden = !scores || !before
    if (!scores || !before) return
    const reviewed = { name: t`reviewed regions, held out`, before, after: scores, losses: [] }
    element('anchorRows', HTMLTableSectionElement).replaceChildren(...[reviewed, ...anchors].map((anchor) => {
      const row = document.createElement('tr')
      for (const words of [anchor.name, inWords(anchor.before), inWords(anchor.after), anchor.losses.join('; ')]) {
        row.insertCell().textContent = words
      }
      return row
    }))
  }

  /** Whether a training is running. */
  async running() {
    return this.server.json('GET', '/jobs/?kind=train&running=true').then((jobs) => jobs.length > 0, () => false)
  }

  /** Start a training, or stop the one that is running. */
  async toggle() {
    const stop = await this.running()
    await this.act(() => (stop ? this.server.json('DELETE', '/train/') : this.server.json('POST', `/train/${this.model}`, { body: {} })))
  }

  /** Publish the model before the present one again. */
  async rollBack() {
    if (!confirm(t`Go back to the model before the present one? Each image then offers to be segmented again by it.`)) return
    await this.act(() => this.server.json('POST', `/model/${this.model}/roll_back`), t`The model before is in use again.`)
  }

  /**
   * @param {() => Promise<unknown>} work
   * @param {string} [done] what to say then
   */
  async act(work, done) {
    try {
      await work()
      await this.show()
      if (done) this.say(done)
    } catch (error) {
      this.say(errorText(error))
    }
  }

  /** @param {string} words */
  say(words) {
    text('trained').textContent = words
  }
}
