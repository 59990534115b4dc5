// A very small SVG writer for the benches' pictures: axes, stacked bars, points and lines. Most colours are Okabe and
// Ito's, which people who do not see all colours can tell apart; none is too dark for the text on it.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import sharp from 'sharp'

const COLOURS: readonly string[] = [
  '#0072b2',
  '#e69f00',
  '#009e73',
  '#cc79a7',
  '#56b4e9',
  '#d55e00',
  '#f0e442',
  '#999999',
  '#8fd1a8',
  '#b4a7d6',
]

export interface Frame {
  width: number
  height: number
  left: number
  right: number
  top: number
  bottom: number
}

const FONT = 'font-family="DejaVu Sans, Arial, sans-serif"'
const GRID_COLOUR = '#dddddd'

export function document({ width, height }: Frame, title: string, parts: readonly string[]): string {
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">`
  const background = '<rect width="100%" height="100%" fill="white"/>'
  return [open, background, text(16, 26, title, { size: 16, weight: 'bold' }), ...parts, '</svg>'].join('\n')
}

export function rect(x: number, y: number, width: number, height: number, fill: string): string {
  return `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}" fill="${fill}"/>`
}

export function circle(x: number, y: number, fill: string): string {
  return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.5" fill="${fill}"/>`
}

export function line(x1: number, y1: number, x2: number, y2: number, stroke: string): string {
  return `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${stroke}"/>`
}

export interface TextStyle {
  anchor?: 'start' | 'middle' | 'end'
  size?: number
  weight?: 'normal' | 'bold'
  fill?: string
}

export function text(x: number, y: number, content: string, style: TextStyle = {}): string {
  const { anchor = 'start', size = 12, weight = 'normal', fill = '#222222' } = style
  const attributes = `text-anchor="${anchor}" font-size="${size}" font-weight="${weight}" fill="${fill}" ${FONT}`
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escape(content)}</text>`
}

/** Squares with names, one below the other; `upwards` where the first stands at the bottom of what it explains. */
export function legend(x: number, y: number, names: readonly string[], direction: 'downwards' | 'upwards'): string[] {
  return names.flatMap((name, index) => {
    const row = y + 20 * (direction === 'upwards' ? names.length - 1 - index : index)
    return [rect(x, row - 10, 12, 12, colour(index)), text(x + 18, row, name)]
  })
}

/** Horizontal grid lines with their values, from 0 to `max`. */
export function valueAxis(frame: Frame, max: number, unit: string): string[] {
  const step = niceStep(max / 5)
  const ticks = Array.from({ length: Math.floor(max / step) + 1 }, (_, index) => index * step)
  return ticks.flatMap((tick) => {
    const y = valueY(frame, tick, max)
    return [
      line(frame.left, y, frame.width - frame.right, y, GRID_COLOUR),
      text(frame.left - 8, y + 4, `${Number(tick.toPrecision(6))}${unit}`, { anchor: 'end' }),
    ]
  })
}

export function valueY({ height, top, bottom }: Frame, value: number, max: number): number {
  return height - bottom - ((height - top - bottom) * value) / max
}

export function colour(index: number): string {
  return COLOURS[index % COLOURS.length] ?? ''
}

/** Also makes the folder. */
export async function writePng(path: string, svg: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  // Twice the nominal resolution, for screens that show it.
  await sharp(Buffer.from(svg), { density: 144 }).png({ palette: true }).toFile(path)
}

/** The next 1, 2 or 5 times a power of ten. */
function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough))
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
